/** Fine-tuning: models, data, optimisers, runs. @module */
export * from "./adapter_file.ts";
export * from "./arena.ts";
export * from "./batches.ts";
export * from "./checkpoint.ts";
export * from "./classifier.ts";
export { labelledDataset, loadLabelled } from "./classify_data.ts";
export { classifyDryRun } from "./classify_dry_run.ts";
export { type ClassifyResult, fineTuneClassifier } from "./classify_run.ts";
export * from "./data.ts";
export * from "./decode.ts";
export * from "./devices.ts";
export { type DryRun, dryRun, type DryRunHooks } from "./dry_run.ts";
export * from "./encoder.ts";
export {
  type EncoderCheckpoint,
  loadEncoder,
  loadEncoderConfig,
  type LoadEncoderOptions,
} from "./encoder_checkpoint.ts";
export * from "./encoder_config.ts";
export * from "./encoder_tokenizer.ts";
export * from "./errors.ts";
export type { EvaluateFlags } from "./evaluation/flags.ts";
export * from "./evaluation/glue_metrics.ts";
export * from "./evaluation/glue_tasks.ts";
export { type LabelledRow, labelledRows } from "./evaluation/labelled_rows.ts";
export { evaluateHelp, parseEvaluateFlags } from "./evaluation/options.ts";
export { type EvaluateHooks, evaluateModel, type Evaluation } from "./evaluation/run.ts";
export { openCount, showEvaluation } from "./evaluation/show.ts";
export * from "./exact_match.ts";
export type { GenerateOptions, Sampling } from "./generate.ts";
export * from "./generate_options.ts";
export * from "./generate_texts.ts";
export * from "./given.ts";
export * from "./llama.ts";
export { methodClasses, type MethodOptions, METHODS } from "./methods.ts";
export * from "./optimiser.ts";
export * from "./options.ts";
export * from "./peft/load.ts";
export { type FlagOf, helpOf, parseFlags, type TableOf } from "./parse_flags.ts";
export { GYRE_FILE, type GyreFile, parseGyreFile, type PeftCombine } from "./peft/combine.ts";
export * from "./peft/config.ts";
export { fromPeft, type LeafValues, type PeftTensors, toPeft } from "./peft/convert.ts";
export { type PeftDirectory, readPeft, writePeft } from "./peft/files.ts";
export * from "./peft/methods.ts";
export * from "./peft/save.ts";
export * from "./plots/mod.ts";
export * from "./program.ts";
export * from "./report.ts";
export { fineTune, type RunHooks, type RunResult } from "./run.ts";
export * from "./run_checkpoint.ts";
export * from "./run_files.ts";
export { parseCommandLine } from "./resume_options.ts";
export * from "./runner.ts";
export * from "./safetensors.ts";
export * from "./sample.ts";
export * from "./schedule.ts";
export * from "./session.ts";
export * from "./step.ts";
export * from "./tokenizer.ts";
