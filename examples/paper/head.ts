/** What adapters leave to be trained whole in an encoder: its head, from the first sentence's token on. @module */
import { loadEncoderConfig, type MethodName } from "../../train/mod.ts";
import type { PaperTask } from "./suites.ts";

/**
 * The map before the classifier where a model has one that its pretraining may never have used, as that of BERT; null
 * where it is none of its own, or is trained anyway.
 */
export function poolerOf(model: string, method: MethodName, kind: PaperTask["kind"]): string | null {
  if (kind !== "sentences" || method === "full") return null;
  return loadEncoderConfig(model).family === "bert" ? "pooler" : null;
}
