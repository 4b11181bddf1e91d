/** Running Python programs that nobody has read: in a sandbox that has been tried, or on demand without. @module */
import { OptionError } from "../errors.ts";
import { probeProgram } from "./probe.ts";
import { type CommandLine, enclosures, type Limits, openCommand, type Python } from "./sandbox_commands.ts";

/** How a program ended. */
export interface ProgramEnd {
  /** Exit status; above 128 by a signal. */
  readonly code: number;
  readonly timedOut: boolean;
  /** The last of what it wrote, at most {@linkcode KEPT} bytes each. */
  readonly output: string;
  readonly error: string;
}

/** A place where programs run. */
export interface Sandbox {
  readonly name: string;
  readonly run: (program: string, limits: Limits) => Promise<ProgramEnd>;
}

/** Bytes of output that are kept, the last ones. */
export const KEPT = 2 ** 15;

/** The Python that `name` is; null where there is none. */
export async function findPython(name: string): Promise<Python | null> {
  const ask =
    "import json, sys; print(json.dumps([sys.executable, sys.base_prefix, sys.prefix, sys.version_info[0]]))";
  try {
    const { success, stdout } = await new Deno.Command(name, { args: ["-c", ask], stderr: "null" }).output();
    if (!success) return null;
    const [path, base, prefix, version] = JSON.parse(new TextDecoder().decode(stdout)) as [
      string,
      string,
      string,
      number,
    ];
    return version === 3 ? { path, prefixes: [base, prefix] } : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** A Python 3 by its name. Throws OptionError where there is none. */
export async function requirePython(name: string): Promise<Python> {
  const python = await findPython(name);
  if (python) return python;
  throw new OptionError(
    `--python ${name}: there is no Python 3 of this name; install one, or name another.`,
    {
      python: name,
    },
  );
}

/** The first sandbox that holds what a probe tries, or why there is none. */
export async function findSandbox(
  python: Python,
): Promise<{ readonly sandbox: Sandbox | null; readonly problems: readonly string[] }> {
  const problems: string[] = [];
  if (Deno.build.os !== "linux") {
    return { sandbox: null, problems: [`${Deno.build.os} has none that is known`] };
  }
  for (const { name, command } of enclosures(Deno.uid() === 0)) {
    const sandbox: Sandbox = {
      name,
      run: (program, limits) =>
        inDirectory((root) => runCommand(command(python, limits, root), program, limits)),
    };
    const problem = await tryOut(sandbox, python);
    if (problem === null) return { sandbox, problems };
    problems.push(`${name} ${problem}`);
  }
  return { sandbox: null, problems };
}

/** A sandbox, or with `unsafe` none at all. Throws OptionError where neither can be had. */
export async function requireSandbox(python: Python, unsafe: boolean): Promise<Sandbox> {
  if (unsafe) {
    return {
      name: "none: programs ran with the rights of the user",
      run: (program, limits) => runCommand(openCommand(python, limits), program, limits),
    };
  }
  const { sandbox, problems } = await findSandbox(python);
  if (sandbox) return sandbox;
  throw new OptionError(
    `programs written by a model are not run without a sandbox, and there is none here (${
      problems.join("; ")
    }): ` +
      "install bubblewrap or util-linux, or give --unsafe-run, with which they may do whatever you may.",
    { problems },
  );
}

async function inDirectory<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = await Deno.makeTempDir({ prefix: "gyre-sandbox-" });
  try {
    return await use(dir);
  } finally {
    await Deno.remove(dir);
  }
}

const PROBE_LIMITS: Limits = { seconds: 20, memoryBytes: 2 ** 28 };

/** What is wrong with a sandbox; null where it holds. */
async function tryOut({ run }: Sandbox, { prefixes }: Python): Promise<string | null> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dir = await Deno.makeTempDir({ prefix: "gyre-probe-" }), file = `${dir}/file`;
  try {
    await Deno.writeTextFile(file, "seen");
    const end = await run(
      probeProgram({
        file,
        port: listener.addr.port,
        memoryBytes: 2 * PROBE_LIMITS.memoryBytes,
        directories: ["/usr", ...prefixes],
      }),
      PROBE_LIMITS,
    );
    if (end.code !== 0) return `does not run (${lastLine(end.error) || `exit status ${end.code}`})`;
    const found = JSON.parse(lastLine(end.output)) as readonly string[];
    return found.length === 0 ? null : `does not hold (a program ${found.join(", ")})`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "is not installed";
    if (error instanceof SyntaxError) return "does not run (it wrote something else than it should)";
    throw error;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)!;
}

async function runCommand(
  [command, ...args]: CommandLine,
  program: string,
  limits: Limits,
): Promise<ProgramEnd> {
  const begun = performance.now();
  const child = new Deno.Command(command, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    clearEnv: true,
    env: {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      LC_ALL: "C.UTF-8",
      HOME: "/tmp",
    },
  }).spawn();
  const [output, error, { code }] = await Promise.all([
    tail(child.stdout),
    tail(child.stderr),
    child.status,
    give(child.stdin, program),
  ]);
  const timedOut = code === 137 && performance.now() - begun >= 1000 * limits.seconds;
  return { code, timedOut, output, error };
}

async function give(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch (error) {
    // What ended before it read its input says so by its exit status.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** The last bytes of a stream, as text. */
async function tail(stream: ReadableStream<Uint8Array>): Promise<string> {
  let kept = new Uint8Array();
  for await (const chunk of stream) {
    const all = new Uint8Array(kept.length + chunk.length);
    all.set(kept);
    all.set(chunk, kept.length);
    kept = all.slice(-KEPT);
  }
  return new TextDecoder().decode(kept);
}
