/** Trained adapters on disk: Gyre's own directory, whole, and PEFT's beside it where PEFT has a form for the method. @module */
import * as Either from "fp-ts/Either.js";
import { namedParams } from "./adapter_file.ts";
import { type AdapterSettings, DEFAULT_SETTINGS, SETTING_READERS } from "./adapter_specs.ts";
import type { ShapeClass } from "./arena.ts";
import { AdapterError } from "./errors.ts";
import type { GivenValues } from "./given.ts";
import { readJson } from "./json_file.ts";
import { modulesOf } from "./llama.ts";
import type { LlamaConfig } from "./llama_config.ts";
import { methodClasses, type MethodOptions, METHODS, settingsUsed } from "./methods.ts";
import { type LoadedAdapters, loadedClasses, loadPeft } from "./peft.ts";
import { peftLayouts } from "./peft_methods.ts";
import { savePeft } from "./peft_save.ts";
import { writeSettings } from "./run_files.ts";
import { openSafetensors, type StoredTensor, writeSafetensors } from "./safetensors.ts";
import type { HostTensor } from "./session.ts";

/** Trained parameters, in the directory of an adapter. */
export const ADAPTER_FILE = "adapter.safetensors";
/** What they are parameters of, beside them. */
const DESCRIPTION = "adapter.json";

/** An adapter to go on with. */
export interface LoadedAdapter {
  readonly classes: readonly ShapeClass[];
  readonly values: GivenValues;
  /** Weights trained whole earlier, by name: they replace the model's. */
  readonly saved: ReadonlyMap<string, StoredTensor>;
  /** What it is, for people and for saving: its own settings in place of the run's. */
  readonly options: MethodOptions;
  /** How it is written again, where it came from PEFT; its method is then what its files say. */
  readonly peft: LoadedAdapters["layout"] | null;
}

/** What is saved, and of which model. */
export interface SavedAdapter {
  readonly options: MethodOptions;
  readonly model: string;
  readonly config: LlamaConfig;
  readonly classes: readonly ShapeClass[];
  readonly trained: ReadonlyMap<string, ReadonlyMap<string, HostTensor>>;
}

/** Write `<dir>`: every parameter, frozen ones too, and `adapter.json` that says of what. The parameters come last. */
export function saveAdapter(dir: string, { options, model, classes, trained }: SavedAdapter): void {
  const { method, compose = null, saveModules = null, target } = options;
  Deno.mkdirSync(dir, { recursive: true });
  writeSettings(dir, {
    method,
    ...(compose === null ? {} : { compose }),
    ...Object.fromEntries(settingsUsed(method).map((name) => [name, options[name]])),
    ...(saveModules === null ? {} : { save_modules: saveModules }),
    target,
    base_model: model,
  }, DESCRIPTION);
  writeSafetensors(`${dir}/${ADAPTER_FILE}`, namedParams(classes, trained));
}

/**
 * Write `<dir>` for Hugging Face PEFT; several places of an expression get a directory each. False, and nothing written,
 * for methods that PEFT has no form for.
 */
export function exportPeft(dir: string, { options, model, config, classes, trained }: SavedAdapter): boolean {
  const layouts = peftLayouts(options, modulesOf(config));
  if (!layouts) return false;
  const whole = classes.filter((c) => !c.fitted).flatMap((c) => c.members);
  const saved = new Map(whole.map((name) => [name, trained.get(name)!.get("weight")!]));
  layouts.forEach(({ paths, branches, combine }, i) => {
    savePeft(layouts.length === 1 ? dir : `${dir}-${i + 1}`, {
      modules: modulesOf(config),
      trained: new Map([...trained].filter(([path]) => paths.has(path))),
      branches: () => branches,
      combine,
      base: model,
      saved: i === 0 ? saved : new Map(),
    });
  });
  return true;
}

/** Write an adapter that came from PEFT as it came, with its values as they are now. */
export function savePeftAgain(
  dir: string,
  layout: LoadedAdapters["layout"],
  { model, config, trained }: SavedAdapter,
): void {
  savePeft(dir, { modules: modulesOf(config), trained, base: model, ...layout });
}

/**
 * Read an adapter that Gyre wrote, or a directory of PEFT, for a model. `options` give what a PEFT directory does not
 * say. Throws AdapterError, PeftError and SafetensorsError, which name the file and what is wrong in it.
 */
export function loadAdapter(dir: string, options: MethodOptions, config: LlamaConfig): LoadedAdapter {
  if (!exists(`${dir}/${DESCRIPTION}`)) {
    const loaded = loadPeft(dir, modulesOf(config), { training: true });
    const { values, saved, layout } = loaded;
    return { classes: loadedClasses(loaded, modulesOf(config)), values, saved, options, peft: layout };
  }
  const own = describedOptions(`${dir}/${DESCRIPTION}`);
  const classes = methodClasses(own, config);
  return {
    classes,
    values: namedValues(`${dir}/${ADAPTER_FILE}`, classes),
    saved: new Map(),
    options: own,
    peft: null,
  };
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The options that `adapter.json` describes. */
function describedOptions(file: string): MethodOptions {
  const json = readJson(file, AdapterError, "it belongs to the adapter");
  const bad = (what: string): AdapterError => new AdapterError(`${file}: ${what}.`, { file });
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw bad("expected a JSON object");
  const fields = json as Readonly<Record<string, unknown>>;
  const method = ([...METHODS, "compose"] as const).find((m) => m === fields["method"]);
  if (method === undefined) {
    throw bad(
      `method is ${JSON.stringify(fields["method"])}; expected one of ${METHODS.join(", ")} or compose`,
    );
  }
  const text = (name: string): string | null => {
    const value = fields[name] ?? null;
    if (value === null || typeof value === "string") return value;
    throw bad(`${name} is ${JSON.stringify(value)}; expected a text`);
  };
  const settings = settingsUsed(method).flatMap((name) => {
    const value = fields[name];
    if (value === undefined || value === null) return [];
    const read = SETTING_READERS[name](String(value));
    if (Either.isLeft(read)) throw bad(`${name} is ${JSON.stringify(value)}; expected ${read.left}`);
    return [[name, read.right] as const];
  });
  // The readers tie each name to its type.
  const own = Object.fromEntries(settings) as Partial<AdapterSettings>;
  return {
    ...DEFAULT_SETTINGS,
    ...own,
    method,
    target: text("target") ?? "all-linear",
    compose: text("compose"),
    saveModules: text("save_modules"),
  };
}

/** Values of all leaves of all members. */
function namedValues(file: string, classes: readonly ShapeClass[]): GivenValues {
  using tensors = openSafetensors(file);
  return new Map(classes.flatMap((c) =>
    c.members.map((member) => [
      member,
      new Map(c.leaves.map((leaf) => {
        const name = c.fitted ? `${member}.${leaf.path}` : member;
        return [leaf.path, tensors.read(name)];
      })),
    ])
  ));
}
