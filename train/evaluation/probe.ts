/** A Python program that tries to get out, to find out whether a sandbox holds. @module */
import { FILE_BYTES, MOST_PROCESSES } from "./sandbox_commands.ts";

/** What a program inside must not reach. */
export interface Forbidden {
  /** A file of this machine that exists. */
  readonly file: string;
  /** A port of 127.0.0.1 where somebody listens. */
  readonly port: number;
  /** More bytes than it may have. */
  readonly memoryBytes: number;
  /** Directories that it sees. */
  readonly directories: readonly string[];
}

/** Writes a JSON list of what was possible; a sandbox that holds leaves it empty. */
export function probeProgram(forbidden: Forbidden): string {
  return `
import json, os, socket, sys, time
given = json.loads(${JSON.stringify(JSON.stringify(forbidden))})
found = []

def attempt(name, do):
    try:
        do()
        found.append(name)
    except (OSError, MemoryError):
        pass

def write(path, size=1):
    with open(path, "wb") as file:
        for _ in range(0, size, 65536):
            file.write(b"x" * min(size, 65536))
    os.remove(path)

children = []

def fork():
    for _ in range(${MOST_PROCESSES} + 8):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)

attempt("reads files", lambda: open(given["file"]).read())
for at in [os.path.dirname(given["file"]), "/", "/dev", "/root", "/home", *given["directories"]]:
    attempt("writes to " + at, lambda: write(os.path.join(at, "gyre-probe")))
attempt("writes large files", lambda: write("/tmp/large", ${2 * FILE_BYTES}))
attempt("opens connections", lambda: socket.create_connection(("127.0.0.1", given["port"]), 1))
attempt("takes memory", lambda: bytearray(given["memoryBytes"]))
try:
    write("/tmp/small")
except OSError:
    found.append("cannot write to /tmp")
attempt("starts any number of processes", fork)
for child in children:
    os.kill(child, 9)
print(json.dumps(found))
`;
}
