/** What a run leaves for people at its end: its result, some singular values, and the page that shows all of it. @module */
import { writeTextAtomically } from "../atomic_file.ts";
import { f16ToF32 } from "../floats.ts";
import { writeSettings } from "../run_files.ts";
import type { ShapeClass } from "../arena.ts";
import type { StoredTensor } from "../safetensors.ts";
import type { Session } from "../session.ts";
import type { Fields } from "./record.ts";
import { writeReport } from "./report.ts";
import { chosenMaps, isCheap, type Spectrum, spectrumOf } from "./spectra.ts";

/** A trained model and what it was made from. */
export interface TrainedModel {
  readonly session: Pick<Session, "mergedOnly">;
  readonly classes: readonly ShapeClass[];
  /** Weights before training, by name. */
  readonly base: ReadonlyMap<string, StoredTensor>;
}

/** Write `result.json`, `spectra.json` and `report.html` into a run's directory; stops before what takes time when asked. */
export async function leaveReport(
  dir: string,
  result: Fields,
  trained: TrainedModel,
  { say, stopped }: { readonly say: (line: string) => void; readonly stopped: () => boolean },
): Promise<void> {
  writeSettings(dir, result, "result.json");
  if (!stopped()) {
    const spectra = await spectraOf(trained);
    if (spectra.length > 0) {
      const byName = spectra.map(({ name, ...values }) => [name, values] as const);
      writeTextAtomically(`${dir}/spectra.json`, `${JSON.stringify(Object.fromEntries(byName))}\n`);
    }
  }
  await writeReport([dir], `${dir}/report.html`);
  say(`report: ${dir}/report.html`);
}

/** Maps whose singular values are shown: some of those small enough to cost little. */
export function shownMaps(trained: Omit<TrainedModel, "session">): string[] {
  return chosenMaps(trained.classes.flatMap((c) => c.members).filter((m) => matrixOf(trained, m) !== null));
}

/** A trained matrix of a layer before training, small enough; null for others. */
function matrixOf(
  { classes, base }: Omit<TrainedModel, "session">,
  member: string,
): { readonly name: string; readonly tensor: StoredTensor; readonly shape: [number, number] } | null {
  const isMap = classes.some((c) => c.fitted && c.members.includes(member));
  const name = isMap ? `${member}.weight` : member, tensor = base.get(name);
  if (!tensor || !/\.layers?\.\d+\./.test(member)) return null;
  const [rows, columns, further] = tensor.aval.shape;
  if (rows === undefined || columns === undefined || further !== undefined) return null;
  return isCheap(rows, columns) ? { name, tensor, shape: [rows, columns] } : null;
}

/** Singular values before and after of {@linkcode shownMaps}. */
export async function spectraOf(trained: TrainedModel): Promise<Spectrum[]> {
  const chosen = shownMaps(trained);
  if (chosen.length === 0) return [];
  const merged = await trained.session.mergedOnly(new Set(chosen));
  return chosen.map((member) => {
    const { name, tensor, shape } = matrixOf(trained, member)!;
    return spectrumOf(member, floatsOf(tensor), merged.get(name)!.data, shape);
  });
}

function floatsOf({ aval, data }: StoredTensor): ArrayLike<number> {
  return aval.dtype === "f16" ? f16ToF32(data as Uint16Array) : data;
}
