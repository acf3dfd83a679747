/** A button that deletes a resource, after a confirmation. */

import { sendRequest } from "../lib/api.js";
import { createButton } from "../lib/dom.js";
import { showError } from "./forms.js";

/** @import { ApiRequest } from "../lib/api.js" */

/**
 * @param {ApiRequest} request @param {string} question @param {string} redirect URL hash of the next screen
 * @param {Element} alert shows an error
 */
export function createDeleteButton(request, question, redirect, alert) {
  return createButton("Delete", async () => {
    if (!confirm(`${question} This cannot be undone.`)) return;
    try {
      await sendRequest(request);
      location.hash = redirect;
    } catch (error) {
      showError(error, alert);
    }
  });
}
