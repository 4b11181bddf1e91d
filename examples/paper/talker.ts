/** Processes that answer a line of JSON for each line of JSON they are given. @module */
import { UserError } from "../../train/mod.ts";

/** Such a process; disposing of it ends it. */
export interface Talker extends AsyncDisposable {
  /** Rejects with UserError, with the last lines of its standard error, where the process ends without an answer. */
  readonly ask: <T>(request: unknown) => Promise<T>;
  /** Most memory that it has had, in bytes, as Linux tells it; null elsewhere. */
  readonly peakBytes: () => number | null;
}

/** Lines of standard error that are kept to tell why a process ended. */
const KEPT_LINES = 4;

/** Start a process to talk to. */
export function talkTo(command: string, args: readonly string[]): Talker {
  const child = spawn(command, args);
  const writer = child.stdin.getWriter();
  const answers = linesOf(child.stdout)[Symbol.asyncIterator]();
  const last: string[] = [];
  const drained = (async () => {
    for await (const line of linesOf(child.stderr)) {
      if (line.trim() !== "") last.push(line);
      if (last.length > KEPT_LINES) last.shift();
    }
  })();
  const ended = async (): Promise<UserError> => {
    const { code } = await child.status;
    await drained;
    return new UserError(`${command} ${args.join(" ")} ended with code ${code}: ${last.join("; ")}`);
  };
  return {
    ask: async <T>(request: unknown) => {
      try {
        await writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
      } catch (error) {
        if (!(error instanceof Deno.errors.BrokenPipe) && !(error instanceof TypeError)) throw error;
        throw await ended();
      }
      const { value, done } = await answers.next();
      if (done) throw await ended();
      return JSON.parse(value) as T;
    },
    peakBytes: () => peakOf(child.pid),
    [Symbol.asyncDispose]: async () => {
      await writer.close().catch(() => {});
      // It ends when its input does; what it still says is of no use.
      for (let more = await answers.next(); !more.done;) more = await answers.next();
      await child.status;
      await drained;
    },
  };
}

function spawn(command: string, args: readonly string[]): Deno.ChildProcess {
  try {
    return new Deno.Command(command, { args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" })
      .spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`${command}: not found; give the path of a program.`);
  }
}

/** Lines of a stream of UTF-8, without their ends. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const part of stream) {
    const lines = `${rest}${decoder.decode(part, { stream: true })}`.split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}

function peakOf(pid: number): number | null {
  try {
    const found = /^VmHWM:\s*(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
    return found ? Number(found[1]) * 1024 : null;
  } catch (error) {
    // It has ended, or this is no Linux.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotSupported) return null;
    throw error;
  }
}
