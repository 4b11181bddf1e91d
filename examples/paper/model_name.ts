/** What a model is called in results: a name, and a digest that tells it from others of that name. @module */

/** Bytes at both ends of a file that are part of the digest. */
const ENDS = 2 ** 20;

/**
 * Name and digest of a model's directory: of its configuration, and of the sizes and both ends of its weights' files.
 * Without a name the last two parts of the directory's path are it.
 */
export async function modelName(dir: string, name: string | null): Promise<string> {
  const files = [...Deno.readDirSync(dir)].map(({ name }) => name)
    .filter((name) => name === "config.json" || name.endsWith(".safetensors")).sort();
  const parts = files.flatMap((name) => [new TextEncoder().encode(name), ...endsOf(`${dir}/${name}`)]);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
  const called = name ?? Deno.realPathSync(dir).split("/").slice(-2).join("/");
  return `${called} ${[...digest.slice(0, 5)].map((b) => b.toString(16).padStart(2, "0")).join("")}`;
}

function endsOf(path: string): Uint8Array<ArrayBuffer>[] {
  using file = Deno.openSync(path);
  const { size } = file.statSync();
  const read = (from: number, count: number): Uint8Array<ArrayBuffer> => {
    const part = new Uint8Array(count);
    file.seekSync(from, Deno.SeekMode.Start);
    for (let at = 0; at < count;) at += file.readSync(part.subarray(at)) ?? count;
    return part;
  };
  const end = Math.min(ENDS, size);
  return [new TextEncoder().encode(String(size)), read(0, end), read(size - end, end)];
}
