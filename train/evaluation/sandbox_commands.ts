/** Command lines that run a Python program cut off from network, files and other programs. @module */

/** What a program may use. */
export interface Limits {
  /** Seconds of the clock, and of the processor for each process. */
  readonly seconds: number;
  /** Bytes of address space for each process. */
  readonly memoryBytes: number;
}

/** Processes at a time; bytes of one file, and of all files together. */
export const MOST_PROCESSES = 8, FILE_BYTES = 2 ** 24, FILES_BYTES = 2 ** 25;

/** A Python on this machine. */
export interface Python {
  readonly path: string;
  /** Directories that it reads beside the system's. */
  readonly prefixes: readonly string[];
}

/** A program and its arguments; the Python program comes through standard input. */
export type CommandLine = readonly [string, ...string[]];

/** A way to shut a program in. */
export interface Enclosure {
  readonly name: string;
  /** `root` is an empty directory that becomes the program's root, where one is needed. */
  readonly command: (python: Python, limits: Limits, root: string) => CommandLine;
}

/** What the system's programs need; those that are there are shown, read-only. */
const SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store"];

/** Directories that a program sees, each once, those inside others left out. */
function shownPaths({ prefixes }: Python): string[] {
  const own = prefixes.filter((p) => !SYSTEM.some((s) => p === s || p.startsWith(`${s}/`)));
  return [...SYSTEM, ...new Set(own)];
}

/** Ends all when time is up, even if nobody waits any more. */
function timed({ seconds }: Limits, command: CommandLine): CommandLine {
  return ["timeout", "--signal=KILL", String(seconds), ...command];
}

/** The program itself, under limits of the kernel. */
function limited({ path }: Python, { seconds, memoryBytes }: Limits): CommandLine {
  return [
    "prlimit",
    ...[`--as=${memoryBytes}`, `--cpu=${Math.ceil(seconds)}`, `--fsize=${FILE_BYTES}`],
    ...[`--nproc=${MOST_PROCESSES}`, "--nofile=64", "--core=0", path, "-I", "-B", "/tmp/program.py"],
  ];
}

/**
 * Builds a root of read-only directories and a small /tmp, makes it the root, gives up all privileges. $1: the root; $2:
 * bytes of /tmp; $3: options of setpriv; $4: number of directories, which follow; then the command. A step that fails ends
 * it, so that nothing runs half shut in. Mounts below the directories are made read-only one by one.
 */
const SETUP = `set -eu
root=$1 size=$2 identity=$3 count=$4
shift 4
mount -t tmpfs -o size=1m,mode=755,nosuid,nodev tmpfs "$root"
cd "$root"
while [ "$count" -gt 0 ]; do
  if [ -L "$1" ]; then mkdir -p "$root$(dirname "$1")"; cp -P "$1" "$root$1"
  elif [ -d "$1" ]; then mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; fi
  shift; count=$((count - 1))
done
while read -r _ _ _ _ at _; do
  at=$(printf %b "$at")
  case $at in "$root"/*) mount -o remount,bind,ro,nosuid,nodev "$at" ;; esac
done </proc/self/mountinfo
mkdir dev tmp proc old
for at in null zero urandom random; do : >dev/$at; mount --bind /dev/$at dev/$at; done
mount -t tmpfs -o "size=$size,nr_inodes=1000,mode=1777,nosuid,nodev,noexec" tmpfs tmp
cat >tmp/program.py
mount --rbind /proc proc
mount -o remount,bind,ro "$root"
pivot_root . old
umount -l /old
umount -l /proc
cd /tmp
exec setpriv $identity --bounding-set=-all --inh-caps=-all --no-new-privs --pdeathsig KILL "$@" </dev/null`;

/** Namespaces of util-linux; with `own`, a user namespace gives the rights that making them needs. */
function unshare(own: boolean): Enclosure {
  return {
    name: own ? "unshare with a user namespace" : "unshare as root",
    command: (python, limits, root) => {
      const paths = shownPaths(python);
      return timed(limits, [
        "unshare",
        ...(own ? ["--user", "--map-root-user"] : []),
        ...[
          "--mount",
          "--net",
          "--pid",
          "--ipc",
          "--uts",
          "--fork",
          "--kill-child",
          "--propagation",
          "private",
        ],
        ...["sh", "-c", SETUP, "sh", root, String(FILES_BYTES)],
        // Limits on processes do not hold for root, so root becomes nobody.
        own ? "" : "--reuid=65534 --regid=65534 --clear-groups",
        ...[String(paths.length), ...paths, ...limited(python, limits)],
      ]);
    },
  };
}

const BUBBLEWRAP: Enclosure = {
  name: "bwrap",
  command: (python, limits) =>
    timed(limits, [
      "bwrap",
      ...["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"],
      ...shownPaths(python).flatMap((path) => ["--ro-bind-try", path, path]),
      "--dir",
      "/dev",
      ...["null", "zero", "urandom", "random"].flatMap((d) => ["--dev-bind", `/dev/${d}`, `/dev/${d}`]),
      ...["--size", String(FILES_BYTES), "--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp"],
      ...["--remount-ro", "/"],
      ...["sh", "-c", `cat >/tmp/program.py && exec "$@" </dev/null`, "sh", ...limited(python, limits)],
    ]),
};

/** Ways to shut a program in, the best first. */
export function enclosures(isRoot: boolean): readonly Enclosure[] {
  return isRoot ? [unshare(false), unshare(true), BUBBLEWRAP] : [BUBBLEWRAP, unshare(true)];
}

/** A program that is not shut in: a time limit alone, files and network are its user's. */
export function openCommand(python: Python, { seconds }: Limits): CommandLine {
  return ["timeout", "--signal=KILL", String(seconds), python.path, "-I", "-B", "-"];
}
