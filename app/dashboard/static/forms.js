/** Fields of forms. A control's name is that of the request's field, so that what is wrong with one is said beside it. */

import { element, fill } from "./element.js";
import { Problem } from "./request.js";

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */
/** @typedef {import("./element.js").Child} Child */

let numbered = 0;

/**
 * A control with its label, what it means, and a place for what is wrong with it.
 * @param {string} label @param {Control} control @param {string} [meaning]
 */
export function field(label, control, meaning = "") {
  const id = control.id || `field-${++numbered}`;
  control.id = id;
  const hint = meaning && element("small", { id: `${id}-meaning` }, meaning);
  const wrong = element("small", { id: `${id}-wrong`, class: "wrong", role: "alert" });
  control.setAttribute("aria-describedby", `${meaning ? `${id}-meaning ` : ""}${id}-wrong`);
  control.addEventListener("input", () => complain(control, ""));
  return element("div", { class: "field" }, element("label", { for: id }, label), control, hint, wrong);
}

/** @param {string} name @param {string} type @param {Record<string, unknown>} [properties] */
export function input(name, type, properties = {}) {
  return element("input", { name, type, autocomplete: "off", ...properties });
}

/** @param {string} name @param {number | string} value @param {Record<string, unknown>} [properties] */
export function number(name, value, properties = {}) {
  return input(name, "number", { value, step: "any", inputmode: "decimal", ...properties });
}

/**
 * @param {string} name @param {(string | [string, string])[]} options values, or values with what they are called
 * @param {string} [chosen]
 */
export function select(name, options, chosen = "") {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  return element(
    "select",
    { name },
    pairs.map(([value, label]) => element("option", { value, selected: value === chosen }, label)),
  );
}

/** @param {string} label @param {HTMLInputElement} control @param {string} [meaning] */
export function checkbox(label, control, meaning = "") {
  const id = `field-${++numbered}`;
  control.id = id;
  return element(
    "div",
    { class: "field check" },
    control,
    element("label", { for: id }, label),
    meaning && element("small", {}, meaning),
  );
}

/** @param {string} legend @param {...(Child | Child[])} children */
export function group(legend, ...children) {
  return element("fieldset", {}, element("legend", {}, legend), element("div", { class: "fields" }, ...children));
}

/** What few need. @param {string} label @param {...(Child | Child[])} children */
export function more(label, ...children) {
  return element("details", { class: "more" }, element("summary", {}, label), ...children);
}

/**
 * Say what is wrong with a control as it is filled in, and do not send the form as long as it is; "" for nothing. For
 * checks that are made anew whenever something is filled in.
 * @param {Control} control @param {string} sentence
 */
export function complain(control, sentence) {
  control.setCustomValidity(sentence);
  say(control, sentence);
}

/**
 * Say what was wrong with a control when the form was sent. It may be sent again: what is to be corrected may be
 * another control.
 * @param {Control} control @param {string} sentence
 */
function say(control, sentence) {
  const place = document.getElementById(`${control.id}-wrong`) ?? control.parentElement?.querySelector(".wrong");
  control.toggleAttribute("aria-invalid", Boolean(sentence));
  if (sentence) control.setAttribute("aria-invalid", "true");
  if (place && place.textContent !== sentence) fill(place, sentence);
}

/** A place for what is wrong and has no field here. */
export const alertPlace = () => element("div", { class: "alert", role: "alert" });

/**
 * @param {unknown} error @param {Element} place for what has no field
 * @param {HTMLFormElement} [form]
 */
export function showProblem(error, place, form) {
  const sentences = [];
  let first = null;
  for (const { field: name, message } of error instanceof Problem ? error.errors : []) {
    const control = form && controlFor(form, name);
    if (control) {
      say(control, message);
      first ??= control;
    } else sentences.push(`${name}: ${message}`);
  }
  if (!first && sentences.length === 0) sentences.push(error instanceof Error ? error.message : String(error));
  fill(place, sentences.map((sentence) => element("p", {}, sentence)));
  show(first);
}

/** Bring a control into sight, and to it whoever fills in the form. @param {Control | null} control */
function show(control) {
  for (let folded = control?.closest("details"); folded; folded = folded.parentElement?.closest("details")) folded.open = true;
  control?.focus();
}

/**
 * Do something when a form is sent; once at a time.
 * @param {HTMLFormElement} form @param {Element} place @param {() => Promise<void>} act
 */
export function onSubmit(form, place, act) {
  form.noValidate = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fill(place);
    for (const control of /** @type {NodeListOf<Control>} */ (form.querySelectorAll("[aria-invalid]:not(:invalid)"))) say(control, "");
    if (!form.checkValidity()) {
      const wrong = /** @type {Control | null} */ (form.querySelector(":invalid:not(fieldset)"));
      if (wrong) say(wrong, wrong.validationMessage);
      show(wrong);
      return;
    }
    const send = form.querySelector("button[type=submit]");
    send?.setAttribute("disabled", "");
    try {
      await act();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) showProblem(error, place, form);
    } finally {
      send?.removeAttribute("disabled");
    }
  });
}

/** The control of a field, or of what the field is in. @param {HTMLFormElement} form @param {string} name */
function controlFor(form, name) {
  for (let part = name; part; part = part.includes(".") ? part.slice(0, part.lastIndexOf(".")) : "") {
    const control = form.elements.namedItem(part);
    if (control instanceof HTMLInputElement || control instanceof HTMLSelectElement || control instanceof HTMLTextAreaElement)
      return control;
  }
  return null;
}

/** What a form's numbers, texts and boxes say, by the names of their controls; nothing for those left empty. */
export class Values {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
  }

  /** @param {string} name */
  text(name) {
    return this.raw(name).trim();
  }

  /** With the blanks around it, which may be part of it. @param {string} name */
  raw(name) {
    const control = this.form.elements.namedItem(name);
    return control && "value" in control ? String(control.value) : "";
  }

  /** @param {string} name */
  number(name) {
    const text = this.text(name);
    return text === "" || !Number.isFinite(Number(text)) ? undefined : Number(text);
  }

  /** @param {string} name */
  checked(name) {
    return /** @type {HTMLInputElement | null} */ (this.form.elements.namedItem(name))?.checked ?? false;
  }
}
