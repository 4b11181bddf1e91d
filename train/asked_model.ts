/** The model that is meant where an adapter is given without one. @module */
import { namedBase } from "./adapter_directory.ts";
import { exists } from "./atomic_file.ts";
import { UserError } from "./errors.ts";
import { isHubId } from "./hub.ts";

/** What is asked: a model; null only beside an adapter. */
interface Asked {
  readonly model: string | null;
  readonly adapter: string | null;
}

/** A model, and the adapter that says so where nobody gave it. */
export interface AskedModel {
  readonly model: string;
  readonly namedBy?: string | undefined;
}

/** The model that was given, or the one that the adapter belongs to. Throws UserError. */
export function askedModel({ model, adapter }: Asked): AskedModel {
  if (model !== null) return { model };
  if (adapter === null) throw new TypeError("Neither a model nor an adapter was given.");
  return { model: baseOf(adapter), namedBy: adapter };
}

/** Say which model is used where nobody gave one. */
export function sayNamed({ model, namedBy }: AskedModel, say: (line: string) => void): void {
  if (namedBy !== undefined) say(`model: ${model}, which ${namedBy} belongs to`);
}

/** The model that an adapter says it belongs to: a directory, or an id of the hub. Throws UserError. */
function baseOf(adapter: string): string {
  const named = namedBase(adapter);
  if (named !== null && (exists(`${named}/config.json`) || isHubId(named))) return named;
  throw new UserError(
    named === null
      ? `${adapter}: does not say what model it belongs to; give --model DIR.`
      : `${adapter}: belongs to ${named}, which is no directory here; give --model DIR.`,
    { adapter, named },
  );
}
