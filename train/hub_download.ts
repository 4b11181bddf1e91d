/** One file of the hub into the cache: what a broken download left is kept, checked and gone on with. @module */
import { createHash, type Hash } from "node:crypto";
import { showBytes } from "../core/mod.ts";
import { exists } from "./atomic_file.ts";
import { CheckpointError } from "./errors.ts";
import type { RemoteFile } from "./hub.ts";

/** Whom to ask, and for which model. */
export interface HubAccess {
  readonly id: string;
  readonly endpoint: string;
  readonly token: string | undefined;
}

/** Tries without a single new byte before a download is given up. */
const TRIES = 3;
/** Milliseconds between two lines on the progress. */
const SAY_EVERY = 10_000;
const CHUNK = 2 ** 20;

/**
 * Have a file's content as `blobs/<hash>`. Another process that downloads it is waited for. Throws CheckpointError where
 * the content is not what the hub said, and what the network and the file system throw.
 */
export async function download(
  from: HubAccess & { readonly commit: string },
  model: string,
  file: RemoteFile,
  say: (line: string) => void,
): Promise<void> {
  const blob = `${model}/blobs/${file.hash}`, incomplete = `${blob}.incomplete`;
  if (exists(blob)) return;
  Deno.mkdirSync(`${model}/blobs`, { recursive: true });
  using part = Deno.openSync(incomplete, { read: true, write: true, create: true });
  await part.lock(true);
  // The one that was waited for has finished it.
  if (exists(blob)) return;
  const hash = file.hash.length === 64
    ? createHash("sha256")
    : createHash("sha1").update(`blob ${file.size}\0`);
  let have = hashPart(part, file.size, hash), spoken = performance.now();
  const name = `${from.id}: ${file.path}, ${showBytes(file.size)}`;
  say(have > 0 ? `${name}: going on after ${showBytes(have)}` : name);
  for (let failed = 0; have < file.size;) {
    const before = have;
    try {
      for await (const chunk of await remainder(from, file, have)) {
        for (let at = 0; at < chunk.length;) at += part.writeSync(chunk.subarray(at));
        hash.update(chunk);
        have += chunk.length;
        if (performance.now() - spoken < SAY_EVERY) continue;
        spoken = performance.now();
        say(`${from.id}: ${file.path}, ${Math.floor(100 * have / file.size)} %`);
      }
      if (have < file.size) throw new Error(`the connection ended at byte ${have} of ${file.size}`);
    } catch (error) {
      failed = have > before ? 0 : failed + 1;
      if (failed === TRIES || isRefusal(error) || isOfTheDisk(error)) throw error;
    }
  }
  part.syncSync();
  const found = hash.digest("hex");
  if (have !== file.size || found !== file.hash) {
    Deno.removeSync(incomplete);
    throw new CheckpointError(
      `${from.id}: ${file.path} has the digest ${found} and ${from.endpoint} says ${file.hash}; it is removed, run again.`,
      { file: file.path, expected: file.hash, found },
    );
  }
  Deno.renameSync(incomplete, blob);
}

/** Digest what is there already, up to its end; more than the file has is cut off. */
function hashPart(part: Deno.FsFile, size: number, hash: Hash): number {
  if (part.statSync().size > size) part.truncateSync(0);
  const buffer = new Uint8Array(CHUNK);
  let have = 0;
  for (let n = part.readSync(buffer); n !== null; n = part.readSync(buffer)) {
    hash.update(buffer.subarray(0, n));
    have += n;
  }
  return have;
}

/** The content from byte `at` on. */
async function remainder(
  { id, endpoint, token, commit }: HubAccess & { readonly commit: string },
  { path, size }: RemoteFile,
  at: number,
): Promise<ReadableStream<Uint8Array>> {
  const { downloadFile } = await import("@huggingface/hub");
  const blob = await downloadFile({
    repo: id,
    path,
    revision: commit,
    hubUrl: endpoint,
    // Plain requests can begin anywhere.
    xet: false,
    ...(token === undefined ? {} : { accessToken: token }),
  });
  if (!blob || blob.size !== size) {
    throw new CheckpointError(
      `${id}: ${endpoint} has ${blob?.size ?? "no"} bytes of ${path} and listed ${size}; run again.`,
      { file: path },
    );
  }
  return blob.slice(at).stream();
}

/** Whether asking again can help. */
function isRefusal(error: unknown): boolean {
  const status = (error as { readonly statusCode?: unknown } | null)?.statusCode;
  return error instanceof CheckpointError || (typeof status === "number" && status < 500);
}

/** Whether a file could not be read or written, as on a full disk. */
export function isOfTheDisk(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotADirectory ||
    /No space left|Read-only file system|Input\/output error|File too large|Requires (read|write)/.test(
      error.message,
    );
}
