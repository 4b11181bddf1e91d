/** Files that are named together: several, or all that a pattern fits. @module */
import { exists } from "../atomic_file.ts";
import { DataError } from "../errors.ts";

/**
 * The files of a text with commas between names, in its order; of a pattern with `*` and `?` those that it fits, by their
 * names. A name that is there is taken as it is, whatever is in it. Throws DataError for a pattern that fits none.
 */
export function rowFiles(names: string): readonly string[] {
  const isPlain = exists(names) || !/[,*?]/.test(names);
  const all = isPlain ? [names] : names.split(",").flatMap((name) => matches(name.trim()));
  const twice = all.find((file, i) => all.indexOf(file) < i);
  if (twice === undefined) return all;
  throw new DataError(`${names}: ${twice} is in it twice; name each file once.`, { names });
}

function matches(name: string): readonly string[] {
  if (name === "") throw new DataError("There is nothing between two commas of a list of files.", { name });
  if (!/[*?]/.test(name) || exists(name)) return [name];
  const found = expand(name.startsWith("/") ? "/" : "", name.split("/").filter((part) => part !== ""));
  if (found.length > 0) return found;
  throw new DataError(`${name}: no file has such a name; give a file, or a pattern such as 'rows-*.jsonl'.`, {
    name,
  });
}

/** Paths that begin with `base` and go on as patterns say. */
function expand(base: string, [pattern, ...rest]: readonly string[]): string[] {
  if (pattern === undefined) return [base.slice(0, -1)];
  if (!/[*?]/.test(pattern)) {
    return exists(`${base}${pattern}`) ? expand(`${base}${pattern}/`, rest) : [];
  }
  const fits = new RegExp(
    `^${pattern.replace(/[*?]|[^*?]+/g, (p) => p === "*" ? ".*" : p === "?" ? "." : RegExp.escape(p))}$`,
    "s",
  );
  return entriesOf(base === "" ? "." : base)
    // Hidden files are named, or not meant.
    .filter(({ name, isFile }) => fits.test(name) && !name.startsWith(".") && (isFile || rest.length > 0))
    .map(({ name }) => name)
    .sort((a, b) => a < b ? -1 : 1)
    .flatMap((name) => expand(`${base}${name}/`, rest));
}

function entriesOf(dir: string): { readonly name: string; readonly isFile: boolean }[] {
  try {
    // What a link leads to is what counts.
    return [...Deno.readDirSync(dir)].map(({ name, isFile, isSymlink }) => ({
      name,
      isFile: isFile || (isSymlink && exists(`${dir}/${name}`) && Deno.statSync(`${dir}/${name}`).isFile),
    }));
  } catch (error) {
    if (error instanceof Deno.errors.NotADirectory) return [];
    throw error;
  }
}

/** What a list of files is called: its only one, or how many there are. */
export function namedTogether(files: readonly string[]): string {
  return files.length === 1 ? files[0]! : `${files.length} files from ${files[0]} to ${files.at(-1)}`;
}
