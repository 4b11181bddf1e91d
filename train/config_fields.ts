/** Fields of a model's `config.json`, each read with a check that names the file, the field and the value. @module */
import { CheckpointError } from "./errors.ts";

/** A field with one supported value, and what to say of others. */
export interface FixedField {
  readonly field: string;
  readonly allowed: readonly unknown[];
  readonly why: string;
}

/** The largest size of anything: sizes and places are 32-bit numbers on devices. */
const LARGEST = 2 ** 31 - 1;

/** What an object of a configuration says. */
export interface ConfigFields {
  /** As they are in the file. */
  readonly all: Readonly<Record<string, unknown>>;
  /** Neither absent nor null. */
  readonly present: (field: string) => boolean;
  /** A whole number from 1 to 2³¹ − 1. */
  readonly size: (field: string, absent?: number) => number;
  /** A finite number above 0. */
  readonly positive: (field: string, absent?: number) => number;
  readonly flag: (field: string, absent: boolean) => boolean;
  /** The object that a field is. */
  readonly object: (field: string) => ConfigFields;
  /** The error for a value, to be thrown. */
  readonly bad: (field: string, expected: string) => CheckpointError;
}

/** Readers of `json`; `within` begins the names of its fields in errors. Throws CheckpointError where it is no object. */
export function configFields(json: unknown, file: string, within = ""): ConfigFields {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw within === ""
      ? new CheckpointError(`${file}: expected a JSON object with the model's sizes.`, { file })
      : wrong(file, within.slice(0, -1), json, "expected a JSON object");
  }
  const all = json as Readonly<Record<string, unknown>>;
  const at = (field: string): unknown => Object.hasOwn(all, field) ? all[field] ?? null : null;
  const present = (field: string): boolean => at(field) !== null;
  const bad = (field: string, expected: string): CheckpointError =>
    wrong(file, `${within}${field}`, at(field), expected);
  return {
    all,
    present,
    bad,
    size: (field, absent) => {
      const value = at(field) ?? absent;
      const isCount = typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
      if (isCount && value <= LARGEST) return value;
      throw bad(field, `expected a whole number from 1 ${isCount ? `to ${LARGEST}` : "on"}`);
    },
    positive: (field, absent) => {
      const value = at(field) ?? absent;
      if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
      throw bad(field, "expected a number above 0");
    },
    flag: (field, absent) => {
      const value = at(field) ?? absent;
      if (typeof value === "boolean") return value;
      throw bad(field, "expected true or false");
    },
    object: (field) => configFields(at(field), file, `${within}${field}.`),
  };
}

function wrong(file: string, field: string, value: unknown, expected: string): CheckpointError {
  return new CheckpointError(`${file}: ${field} is ${JSON.stringify(value)}; ${expected}.`, {
    file,
    field,
    value,
  });
}

/** Refuse fields that are there with other values than the supported ones. Throws CheckpointError. */
export function requireFixed({ present, all, bad }: ConfigFields, fixed: readonly FixedField[]): void {
  for (const { field, allowed, why } of fixed) {
    if (!present(field) || allowed.includes(all[field])) continue;
    const values = allowed.map((v) => JSON.stringify(v)).join(" or ") || "it to be absent";
    throw bad(field, `expected ${values}: ${why}`);
  }
}

/** A token id or a list of them, as a list; empty where the field is absent. */
export function tokenIds(fields: ConfigFields, field: string): readonly number[] {
  if (!fields.present(field)) return [];
  const value = fields.all[field];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (ids.every((id): id is number => Number.isSafeInteger(id))) return ids;
  throw fields.bad(field, "expected a token id or a list of them");
}
