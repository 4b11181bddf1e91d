/**
 * Events of TensorBoard as protocol buffers. Numbers of the fields: `event.proto` and `summary.proto` of TensorBoard;
 * encoding: the protocol buffers' wire format. @module
 */

/** Something that happened. */
export interface TensorboardEvent {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step?: number;
  /** What a file begins with. */
  readonly fileVersion?: string;
  /** A program began: what an earlier one wrote of this step and later ones is void. */
  readonly start?: boolean;
  /** Numbers by name, kept as f32. */
  readonly scalars?: Readonly<Record<string, number>>;
}

const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const;
const SUMMARY = { value: 1 } as const;
const VALUE = { tag: 1, simpleValue: 2 } as const;
const SESSION = { status: 1, start: 1 } as const;

/** How a field's value is laid out. */
const WIRE = { varint: 0, eight: 1, bytes: 2, four: 5 } as const;

type Parts = readonly (Uint8Array | readonly number[])[];

function joined(parts: Parts): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A whole number from 0 on, seven bits a byte, the lowest first. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push(rest % 128 + 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

const key = (field: number, wire: number): number[] => varint(field * 8 + wire);

const whole = (field: number, value: number): Parts => [key(field, WIRE.varint), varint(value)];

const bytes = (field: number, value: Uint8Array): Parts => [
  key(field, WIRE.bytes),
  varint(value.length),
  value,
];

const text = (field: number, value: string): Parts => bytes(field, new TextEncoder().encode(value));

function f64(field: number, value: number): Parts {
  return [key(field, WIRE.eight), new Uint8Array(Float64Array.of(value).buffer)];
}

function f32(field: number, value: number): Parts {
  return [key(field, WIRE.four), new Uint8Array(Float32Array.of(value).buffer)];
}

/** The bytes of an event. */
export function encodeEvent({ wallTime, step, fileVersion, start, scalars }: TensorboardEvent): Uint8Array {
  const value = ([tag, number]: [string, number]): Parts =>
    bytes(SUMMARY.value, joined([...text(VALUE.tag, tag), ...f32(VALUE.simpleValue, number)]));
  return joined([
    ...f64(EVENT.wallTime, wallTime),
    ...(step === undefined ? [] : whole(EVENT.step, step)),
    ...(fileVersion === undefined ? [] : text(EVENT.fileVersion, fileVersion)),
    ...(scalars ? bytes(EVENT.summary, joined(Object.entries(scalars).flatMap(value))) : []),
    ...(start ? bytes(EVENT.sessionLog, joined(whole(SESSION.status, SESSION.start))) : []),
  ]);
}
