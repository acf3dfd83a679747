/**
 * Form fields and validation. A control has the name of its field in the request, so that errors appear beside it;
 * data-fields names other fields that it sets.
 */

import { ApiError } from "../lib/api.js";
import { createElement, replaceContent } from "../lib/dom.js";
import { formatError } from "../lib/format.js";

/** @import { FieldError } from "../lib/api.js" */
/** @import { Child } from "../lib/dom.js" */

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

let lastFieldNumber = 0;

/**
 * Create a field: a control with a label, a hint and an error message.
 * @param {string} label @param {Control} control @param {string} [hint]
 */
export function createField(label, control, hint = "") {
  const id = assignId(control);
  const hintText = hint && createElement("small", { id: `${id}-hint` }, hint);
  const errorText = createElement("small", { id: `${id}-error`, class: "field-error", role: "alert" });
  control.setAttribute("aria-describedby", `${hint ? `${id}-hint ` : ""}${id}-error`);
  control.addEventListener("input", () => setValidationMessage(control, ""));
  return createElement(
    "div",
    { class: "field" },
    createElement("label", { for: id }, label),
    control,
    hintText,
    errorText,
  );
}

/** @param {string} label @param {HTMLInputElement} control @param {string} [hint] */
export function createCheckboxField(label, control, hint = "") {
  const id = assignId(control);
  const hintText = hint && createElement("small", { id: `${id}-hint` }, hint);
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return createElement(
    "div",
    { class: "field checkbox" },
    control,
    createElement("label", { for: id }, label),
    hintText,
  );
}

/** @param {string} name @param {string} type @param {Record<string, unknown>} [properties] */
export function createInput(name, type, properties = {}) {
  return createElement("input", { name, type, autocomplete: "off", ...properties });
}

/** @param {string} name @param {number | string} value @param {Record<string, unknown>} [properties] */
export function createNumberInput(name, value, properties = {}) {
  return createInput(name, "number", { value, step: "any", inputmode: "decimal", ...properties });
}

/** @param {string} name @param {number | string} value @param {Record<string, unknown>} [properties] */
export function createIntegerInput(name, value, properties = {}) {
  return createNumberInput(name, value, { step: 1, inputmode: "numeric", ...properties });
}

/**
 * @param {string} name @param {(string | [string, string])[]} options values, or values with labels
 * @param {string} [selected]
 */
export function createSelect(name, options, selected = "") {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  return createElement(
    "select",
    { name },
    pairs.map(([value, label]) => createElement("option", { value, selected: value === selected }, label)),
  );
}

/** @param {...(Child | Child[])} children */
export function createFormGrid(...children) {
  return createElement("div", { class: "form-grid" }, ...children);
}

/** @param {string} legend @param {...(Child | Child[])} children */
export function createFieldset(legend, ...children) {
  return createElement("fieldset", {}, createElement("legend", {}, legend), createFormGrid(...children));
}

/** Create a collapsed section for rarely used fields. @param {string} summary @param {...(Child | Child[])} children */
export function createDetails(summary, ...children) {
  return createElement("details", { class: "advanced" }, createElement("summary", {}, summary), ...children);
}

/** @param {string} label */
export function createSubmitRow(label) {
  return createElement("p", { class: "row" }, createElement("button", { type: "submit", class: "primary" }, label));
}

/** Create an element for error messages that belong to no field. */
export function createAlert() {
  return createElement("div", { class: "alert", role: "alert" });
}

/**
 * Set or clear ("") the validation message of a control, and block the form until it is cleared. For checks that run
 * whenever the form changes.
 * @param {Control} control @param {string} message
 */
export function setValidationMessage(control, message) {
  control.setCustomValidity(message);
  showFieldError(control, message);
}

/**
 * Show an error: beside the controls of the fields that it names, and otherwise in the alert.
 * @param {unknown} error @param {Element} alert @param {HTMLFormElement} [form]
 */
export function showError(error, alert, form) {
  const errors = error instanceof ApiError ? error.errors : [];
  const invalid = form ? showFieldErrors(form, errors) : new Map();
  const messages = errors.filter((item) => !invalid.has(item)).map(({ field, message }) => `${field}: ${message}`);
  if (errors.length === 0) messages.push(formatError(error));
  replaceContent(
    alert,
    messages.map((message) => createElement("p", {}, message)),
  );
  const [firstInvalid] = invalid.values();
  revealControl(firstInvalid ?? null);
}

/**
 * Show errors beside the controls of the fields that they name.
 * @param {HTMLFormElement} form @param {FieldError[]} errors
 * @returns {Map<FieldError, Control>} the controls of the errors that are shown
 */
export function showFieldErrors(form, errors) {
  /** @type {Map<FieldError, Control>} */
  const shown = new Map();
  for (const error of errors) {
    const control = findControl(form, error.field);
    if (!control) continue;
    showFieldError(control, error.message);
    shown.set(error, control);
  }
  return shown;
}

/** Return the label of the control of a field. @param {HTMLFormElement} form @param {string} field */
export function findLabel(form, field) {
  const control = findControl(form, field);
  return control && form.querySelector(`label[for="${control.id}"]`)?.textContent;
}

/**
 * Handle the submission of a form: validate, run `submit` once at a time, show errors.
 * @param {HTMLFormElement} form @param {Element} alert @param {() => Promise<void>} submit
 */
export function handleSubmit(form, alert, submit) {
  form.noValidate = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    replaceContent(alert);
    clearServerErrors(form);
    if (!form.checkValidity()) {
      const invalid = /** @type {Control | null} */ (form.querySelector(":invalid:not(fieldset)"));
      if (invalid) showFieldError(invalid, invalid.validationMessage);
      revealControl(invalid);
      return;
    }
    const button = form.querySelector("button[type=submit]");
    button?.setAttribute("disabled", "");
    try {
      await submit();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) showError(error, alert, form);
    } finally {
      button?.removeAttribute("disabled");
    }
  });
}

/** The values of a form by the names of its controls; undefined for numbers that are left empty. */
export class FormValues {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
  }

  /** @param {string} name */
  getText(name) {
    return this.getRawText(name).trim();
  }

  /** Return text with the spaces around it, which may be part of a value. @param {string} name */
  getRawText(name) {
    const control = this.form.elements.namedItem(name);
    return control && "value" in control ? String(control.value) : "";
  }

  /** @param {string} name */
  getNumber(name) {
    const text = this.getText(name);
    return text === "" || !Number.isFinite(Number(text)) ? undefined : Number(text);
  }

  /** @param {string} name */
  isChecked(name) {
    return /** @type {HTMLInputElement | null} */ (this.form.elements.namedItem(name))?.checked ?? false;
  }
}

/** @param {Control} control */
function assignId(control) {
  control.id ||= `field-${++lastFieldNumber}`;
  return control.id;
}

/**
 * Show the error message of a control without blocking the form: the cause may be another control.
 * @param {Control} control @param {string} message
 */
function showFieldError(control, message) {
  const errorText =
    document.getElementById(`${control.id}-error`) ?? control.parentElement?.querySelector(".field-error");
  if (message) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
  if (errorText && errorText.textContent !== message) replaceContent(errorText, message);
}

/** Clear the errors that the service reported. @param {HTMLFormElement} form */
export function clearServerErrors(form) {
  const controls = /** @type {NodeListOf<Control>} */ (form.querySelectorAll("[aria-invalid]:not(:invalid)"));
  for (const control of controls) showFieldError(control, "");
}

/** Expand the sections that contain a control, and focus it. @param {Control | null} control */
function revealControl(control) {
  for (let details = control?.closest("details"); details; details = details.parentElement?.closest("details"))
    details.open = true;
  control?.focus();
}

/**
 * Find the control of a field, or of the nearest field that contains it.
 * @param {HTMLFormElement} form @param {string} field
 */
function findControl(form, field) {
  for (let path = field; path; path = path.includes(".") ? path.slice(0, path.lastIndexOf(".")) : "") {
    const control = form.elements.namedItem(path) ?? form.querySelector(`[data-fields="${CSS.escape(path)}"]`);
    if (
      control instanceof HTMLInputElement ||
      control instanceof HTMLSelectElement ||
      control instanceof HTMLTextAreaElement
    )
      return control;
  }
  return null;
}
