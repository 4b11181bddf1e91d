/** Processes that answer a line of JSON for each line of JSON they are given. @module */
import { UserError } from "../../train/mod.ts";

/** Such a process; disposing of it ends it. */
export interface Talker extends AsyncDisposable {
  /**
   * Rejects with UserError, with the last lines of its standard error, where the process ends without an answer, or says
   * nothing for so long that it is ended.
   */
  readonly ask: <T>(request: unknown) => Promise<T>;
  /** Most memory that it has had, in bytes, as Linux tells it; null elsewhere. */
  readonly peakBytes: () => number | null;
  /** The last line of its standard error; empty before the first one. */
  readonly lastSaid: () => string;
}

/** How a process is listened to. */
export interface Listening {
  /** Seconds without a sign of life, any line on standard error, after which a process that was asked is ended; default: no limit. */
  readonly patience?: number;
  /** Told each line of its standard error that is not empty. */
  readonly heard?: (line: string) => void;
}

/** Lines of standard error that are kept to tell why a process ended. */
const KEPT_LINES = 4;
/** Milliseconds that a process has to end by itself when it is no longer needed, and to be gone when it was ended. */
const FAREWELL = 5_000;

/** Start a process to talk to. */
export function talkTo(
  command: string,
  args: readonly string[],
  { patience = Infinity, heard = () => {} }: Listening = {},
): Talker {
  const child = spawn(command, args);
  const writer = child.stdin.getWriter();
  const answers = linesOf(child.stdout)[Symbol.asyncIterator]();
  const last: string[] = [];
  // A driver, or a process of its own that holds its output, may keep an ended process from going.
  const stays = Promise.withResolvers<never>();
  stays.promise.catch(() => {});
  const unlessStays = <T>(work: Promise<T>): Promise<T> => Promise.race([work, stays.promise]);
  let alive = performance.now(), isKilled = false;
  const drained = (async () => {
    for await (const line of linesOf(child.stderr)) {
      alive = performance.now();
      if (line.trim() === "") continue;
      last.push(line);
      if (last.length > KEPT_LINES) last.shift();
      heard(line);
    }
  })();
  const kill = (): void => {
    if (isKilled) return;
    isKilled = true;
    setTimeout(() => stays.reject(silent()), FAREWELL);
    try {
      child.kill("SIGKILL");
    } catch (error) {
      // It has ended meanwhile.
      if (!(error instanceof TypeError)) throw error;
    }
  };
  const silent = (): UserError =>
    new UserError(
      `its process gave no sign of life for ${patience} s and was ended; the last it said: ${
        last.join("; ") || "nothing"
      }`,
    );
  const ended = async (): Promise<UserError> => {
    const { code } = await unlessStays(child.status);
    await unlessStays(drained);
    return isKilled
      ? silent()
      : new UserError(`${command} ${args.join(" ")} ended with code ${code}: ${last.join("; ")}`);
  };
  return {
    ask: async <T>(request: unknown) => {
      alive = performance.now();
      const watch = Number.isFinite(patience)
        ? setInterval(() => {
          if (performance.now() - alive > 1000 * patience) kill();
        }, Math.min(1000, 250 * patience))
        : undefined;
      try {
        await writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
        const { value, done } = await unlessStays(answers.next());
        if (done) throw await ended();
        return JSON.parse(value) as T;
      } catch (error) {
        if (!(error instanceof Deno.errors.BrokenPipe) && !(error instanceof TypeError)) throw error;
        throw await ended();
      } finally {
        clearInterval(watch);
      }
    },
    peakBytes: () => peakOf(child.pid),
    lastSaid: () => last.at(-1) ?? "",
    [Symbol.asyncDispose]: async () => {
      const late = setTimeout(kill, FAREWELL),
        left = async (): Promise<void> => {
          await writer.close().catch(() => {});
          // It ends when its input does; what it still says is of no use.
          for (let more = await answers.next(); !more.done;) more = await answers.next();
          await child.status;
          await drained;
        };
      await unlessStays(left()).catch((error) => {
        if (!(error instanceof UserError)) throw error;
      });
      clearTimeout(late);
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
