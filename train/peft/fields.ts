/** Typed reading of a flat JSON object that keeps count of the fields it was asked for. @module */
import { PeftError } from "../errors.ts";

/** Readers by field; each throws PeftError naming file, field and value. `null` in the file is absence. */
export interface PeftFields {
  /** Whether the field is there and not null. */
  readonly has: (field: string) => boolean;
  /** A field as it is; null where absent. */
  readonly value: (field: string) => unknown;
  /** Pass over a field. */
  readonly see: (field: string) => void;
  readonly fixed: (field: string, allowed: readonly unknown[], why: string) => void;
  readonly one: <T extends string>(field: string, values: readonly T[], absent?: T) => T;
  readonly count: (field: string, absent: number, least: number) => number;
  readonly number: (field: string, absent: number) => number;
  /** A number from 0 up to, not including, 1; 0 where absent. */
  readonly share: (field: string) => number;
  readonly flag: (field: string, absent: boolean) => boolean;
  readonly text: (field: string) => string | null;
  readonly texts: (field: string) => string | readonly string[] | null;
  /** A whole number or a list of them. */
  readonly counts: (field: string) => readonly number[] | null;
  readonly pattern: (
    field: string,
    fits: (value: number) => boolean,
    what: string,
  ) => readonly (readonly [string, number])[];
  readonly bad: (field: string, expected: string) => PeftError;
  /** Throw for fields that were never asked for. */
  readonly refuseOthers: (what: string) => void;
}

/** Read from a JSON value. Throws PeftError where it is no object. */
export function fieldsOf(json: unknown, file: string): PeftFields {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new PeftError(`${file}: expected a JSON object with the adapter's settings.`, { file });
  }
  const record = json as Readonly<Record<string, unknown>>;
  const seen = new Set<string>();
  const get = (field: string): unknown => {
    seen.add(field);
    return Object.hasOwn(record, field) ? record[field] ?? null : null;
  };
  const bad = (field: string, expected: string): PeftError =>
    new PeftError(`${file}: ${field} is ${JSON.stringify(get(field))}; ${expected}.`, {
      file,
      field,
      value: get(field),
    });
  const isCount = (v: unknown): v is number => typeof v === "number" && Number.isSafeInteger(v) && v >= 0;
  const isTexts = (v: unknown): v is readonly string[] =>
    Array.isArray(v) && v.every((t) => typeof t === "string");
  const number = (field: string, absent: number): number => {
    const value = get(field) ?? absent;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw bad(field, "expected a number");
  };
  return {
    has: (field) => get(field) !== null,
    value: get,
    see: (field) => void seen.add(field),
    fixed: (field, allowed, why) => {
      const value = get(field);
      const same = (other: unknown): boolean => JSON.stringify(other) === JSON.stringify(value);
      if (value === null || allowed.some(same)) return;
      throw bad(field, `expected ${allowed.map((v) => JSON.stringify(v)).join(" or ")}: ${why}`);
    },
    one: (field, values, absent) => {
      const value = get(field) ?? absent;
      const found = values.find((v) => v === value);
      if (found !== undefined) return found;
      throw bad(field, `Gyre knows ${values.join(", ")}`);
    },
    count: (field, absent, least) => {
      const value = get(field) ?? absent;
      if (isCount(value) && value >= least) return value;
      throw bad(field, `expected a whole number from ${least} on`);
    },
    number,
    share: (field) => {
      const value = number(field, 0);
      if (value >= 0 && value < 1) return value;
      throw bad(field, "expected a number from 0 up to 1");
    },
    flag: (field, absent) => {
      const value = get(field) ?? absent;
      if (typeof value === "boolean") return value;
      throw bad(field, "expected true or false");
    },
    text: (field) => {
      const value = get(field);
      if (value === null || typeof value === "string") return value;
      throw bad(field, "expected a text or null");
    },
    texts: (field) => {
      const value = get(field);
      if (value === null || typeof value === "string" || isTexts(value)) return value;
      throw bad(field, "expected a text or a list of texts");
    },
    counts: (field) => {
      const value = get(field);
      if (value === null) return null;
      const list: readonly unknown[] = Array.isArray(value) ? value : [value];
      if (list.every(isCount)) return list.length === 0 ? null : list;
      throw bad(field, "expected a whole number or a list of them");
    },
    pattern: (field, fits, what) => {
      const value = get(field);
      if (value === null) return [];
      if (typeof value === "object" && !Array.isArray(value)) {
        const entries = Object.entries(value);
        if (entries.every((e): e is [string, number] => typeof e[1] === "number" && fits(e[1]))) {
          return entries;
        }
      }
      throw bad(field, `expected an object from regular expressions to ${what}`);
    },
    bad,
    refuseOthers: (what) => {
      const other = Object.keys(record).find((field) => !seen.has(field));
      if (other !== undefined) {
        throw bad(other, `Gyre does not know this field for ${what}; remove it if the adapter works without`);
      }
    },
  };
}
