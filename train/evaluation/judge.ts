/** A judge behind an OpenAI-compatible endpoint. @module */
import { OptionError } from "../errors.ts";
import type { Message } from "../tokenizer.ts";

/** What a judge said, or why it said nothing. */
export type Reply =
  | { readonly kind: "said"; readonly text: string }
  | { readonly kind: "failed"; readonly why: string };

/** Asks a judge; never throws for what the endpoint does. */
export type Judge = (messages: readonly Message[]) => Promise<Reply>;

/** Where a judge is. */
export interface JudgeOptions {
  /** Base of the endpoint, as `https://host/v1`. */
  readonly url: string;
  readonly model: string;
  /** Sent as a bearer token; null: none is sent. */
  readonly key: string | null;
  /** Seconds that an answer may take. */
  readonly seconds?: number;
  /** Seconds before a request that failed is made again, then twice that; by default 1. */
  readonly pause?: number;
}

/** Times that a request is made before it counts as failed. */
const TRIES = 3;
/** Longest wait that an endpoint may ask for, in seconds. */
const LONGEST_WAIT = 60;
/** Statuses after which no further request can do better. */
const HOPELESS = new Set([401, 403, 404]);

/**
 * Open a judge. Requests that fail for now (429, 5xx, a broken connection, no answer in time) are made again; after a
 * status that says that no request can succeed (401, 403, 404) none is made any more. Throws OptionError for a URL that is
 * none.
 */
export function openJudge({ url, model, key, seconds = 120, pause = 1 }: JudgeOptions): Judge {
  const endpoint = endpointOf(url);
  let hopeless: string | null = null;
  return async (messages) => {
    let why = "";
    for (let attempt = 0; attempt < TRIES; attempt++) {
      if (hopeless !== null) return { kind: "failed", why: hopeless };
      const wait = pause * 2 ** attempt;
      const found = await request(endpoint, { model, messages, temperature: 0 }, key, seconds);
      if (found.kind === "said") return found;
      why = found.why;
      if (found.status !== null && HOPELESS.has(found.status)) hopeless = why;
      if (!found.passing) break;
      if (attempt + 1 < TRIES) await sleep(Math.min(LONGEST_WAIT, found.retryAfter ?? wait));
    }
    return { kind: "failed", why };
  };
}

function endpointOf(url: string): URL {
  try {
    const parsed = new URL(url);
    if (parsed.protocol !== "http:" && parsed.protocol !== "https:") throw new TypeError(parsed.protocol);
    const path = parsed.pathname.replace(/\/+$/, "");
    parsed.pathname = path.endsWith("/chat/completions") ? path : `${path}/chat/completions`;
    return parsed;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new OptionError(
      `--judge-url is "${url}": give the base of an endpoint, as http://127.0.0.1:8080/v1.`,
      {
        url,
      },
    );
  }
}

/** A reply, or a failure with what it says about further requests. */
type Requested =
  | Extract<Reply, { readonly kind: "said" }>
  | {
    readonly kind: "failed";
    readonly why: string;
    readonly status: number | null;
    /** Whether the same request may succeed later. */
    readonly passing: boolean;
    /** Seconds. */
    readonly retryAfter: number | null;
  };

async function request(
  endpoint: URL,
  body: object,
  key: string | null,
  seconds: number,
): Promise<Requested> {
  let response: Response, text: string;
  try {
    response = await fetch(endpoint, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(Math.ceil(1000 * seconds)),
    });
    text = await response.text();
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    if (!late && !(error instanceof TypeError)) throw error;
    const why = late ? `no answer within ${seconds} s` : `no connection (${(error as Error).message})`;
    return { kind: "failed", why, status: null, passing: true, retryAfter: null };
  }
  const { status } = response;
  if (!response.ok) {
    const after = Number(response.headers.get("retry-after") ?? NaN);
    return {
      kind: "failed",
      why: `status ${status}: ${text.replace(/\s+/g, " ").trim().slice(0, 200)}`,
      status,
      passing: status === 408 || status === 429 || status >= 500,
      retryAfter: Number.isFinite(after) && after >= 0 ? after : null,
    };
  }
  const said = contentOf(text);
  return said === null
    ? {
      kind: "failed",
      why: "the reply holds no choices[0].message.content",
      status,
      passing: false,
      retryAfter: null,
    }
    : { kind: "said", text: said };
}

/** The text of a chat completion; null for anything else. */
function contentOf(text: string): string | null {
  try {
    const { choices } = Object(JSON.parse(text)) as { readonly choices?: unknown };
    const first: unknown = Array.isArray(choices) ? choices[0] : null;
    const { content } = Object(Object(first)["message"]) as { readonly content?: unknown };
    return typeof content === "string" ? content : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resume) => setTimeout(resume, 1000 * seconds));
}
