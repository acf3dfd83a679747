/** The state of a job, in words. */

import { formatCount } from "./format.js";

/** @import { Job } from "./api_types.js" */

const FINISHED_STATES = ["succeeded", "failed", "cancelled"];
/** @type {Record<string, string>} */
const STOP_REASONS = {
  epochs: "All epochs completed.",
  patience: "Stopped early: the cost stopped improving.",
  target_cost: "Target cost reached.",
  max_seconds: "Time limit reached.",
  converged: "Converged: no step lowers the cost any further.",
};

/** @param {Job} job */
export function isFinished(job) {
  return FINISHED_STATES.includes(job.state);
}

/** Explain the state: what the job is waiting for, why it stopped, or its error. @param {Job} job */
export function describeState(job) {
  const sentences = [];
  if (job.state === "queued" && typeof job.queue_position === "number")
    sentences.push(
      job.queue_position === 0 ? "Next in the queue." : `${formatCount(job.queue_position, "job")} ahead in the queue.`,
    );
  if (job.blocked_by?.length)
    sentences.push(`Waiting for ${formatCount(job.blocked_by.length, "other job")} to succeed.`);
  if (job.compiling) sentences.push("Compiling code for this network: a few seconds, once on a machine.");
  if (job.pausing) sentences.push("Pausing: saving a checkpoint.");
  if (job.stop_reason) sentences.push(STOP_REASONS[job.stop_reason] ?? `Stopped: ${job.stop_reason}.`);
  if (job.stop_reason && job.best_epoch) sentences.push(`Best epoch: ${job.best_epoch}.`);
  if (job.error) sentences.push(job.error.message);
  return sentences.join(" ");
}
