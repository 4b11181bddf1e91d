/** Which modules of a model a PEFT configuration is about. Facts: peft 0.21, `check_target_module_exists`. @module */
import { PeftError } from "../errors.ts";
import { wildness } from "../tame_expression.ts";
import type { PeftPattern, PeftTargets } from "./config.ts";

/** Layer number inside a path where no name of the list of layers is given: the first numbered part. */
const ANY_LAYERS = "[^.]*";

/**
 * A test of module paths. Lists match whole paths or their ends; a text is a regular expression for the whole path;
 * `all-linear` matches every path that is asked about. Throws PeftError for an expression that cannot be read.
 */
export function targetTest(targets: PeftTargets, file: string): (path: string) => boolean {
  const wanted = nameTest(targets.modules, "target_modules", file);
  const excluded = nameTest(targets.exclude, "exclude_modules", file);
  const saved = targets.saved.map((name) =>
    expression(`(?:^|.*\\.)${name}(?:$|\\..*)`, "modules_to_save", file)
  );
  const lists = targets.layersPattern.length > 0 ? targets.layersPattern : [ANY_LAYERS];
  // Without a name, at least one part must come before the list of layers.
  const start = targets.layersPattern.length > 0 ? "(?:^|.*?\\.)" : ".*?\\.";
  const numbered = lists.map((name) => expression(`^${start}${name}\\.(\\d+)\\.`, "layers_pattern", file));
  return (path) => {
    if (excluded(path) || saved.some((s) => s.test(path)) || !wanted(path)) return false;
    // PEFT takes a module that is named whole whatever its layer.
    const whole = typeof targets.modules !== "string" && targets.modules.includes(path);
    if (targets.layers === null || whole) return true;
    const match = numbered.map((n) => n.exec(path)).find((m) => m !== null);
    return match ? targets.layers.includes(Number(match[1])) : false;
  };
}

/** The value for a path: that of the first expression that matches the path's end from a dot on, else `otherwise`. */
export function patternValue(
  pattern: PeftPattern,
  path: string,
  otherwise: number,
  field: string,
  file: string,
): number {
  const found = pattern.find(([text]) => expression(`^(?:.*\\.)?(?:${text})$`, field, file).test(path));
  return found ? found[1] : otherwise;
}

function nameTest(names: string | readonly string[], field: string, file: string): (path: string) => boolean {
  if (typeof names !== "string") {
    return (path) => names.some((name) => path === name || path.endsWith(`.${name}`));
  }
  if (names.toLowerCase() === "all-linear") return () => true;
  const whole = expression(`^(?:${names})$`, field, file);
  return (path) => whole.test(path);
}

/** Longest expression, in characters. */
const LONGEST = 10_000;

/** A Python expression as JavaScript's: named groups are written differently, the rest of what paths need is the same. */
function expression(text: string, field: string, file: string): RegExp {
  const why = text.length > LONGEST ? `it has ${text.length} characters` : wildness(text);
  if (why !== null) {
    throw new PeftError(
      `${file}: ${field}: the expression could run without end: ${why}; write it simpler.`,
      {
        file,
        field,
      },
    );
  }
  try {
    return new RegExp(text.replaceAll("(?P<", "(?<"), "u");
  } catch (error) {
    throw new PeftError(
      `${file}: ${field}: ${(error as Error).message}; write the expression so that JavaScript reads it too.`,
      { file, field },
    );
  }
}
