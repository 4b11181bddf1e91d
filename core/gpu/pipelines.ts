/** Compiled shaders of one device, shared by all plans on it. @module */
import type { Kernel } from "../kernel/kernel.ts";
import { type Printed, printed, type Wgsl, type WgslLimits, wgslOf } from "../kernel/wgsl.ts";
import { together } from "../kernel/wgsl_together.ts";
import type { CompileTeam } from "./compile_team.ts";
import { type Begin, plainly } from "./pace.ts";
import { type Compiled, type ReadShader, type Shader, ShaderCompiler } from "./shader.ts";

/** Shaders from which on threads that compile are worth their devices. */
const MANY = 8;

/** A kernel ready to be dispatched. */
export interface Ready extends Compiled {
  readonly name: string;
  readonly workgroups: readonly [number, number, number];
  /** The thread of a {@linkcode CompileTeam} that compiled it first; null where none did. */
  readonly thread: number | null;
}

/** The shader of a launch: of one kernel, or of several together. */
export function launchShader(parts: readonly Printed[]): Shader & Wgsl {
  const kernels = parts.map((p) => p.module.kernel);
  return {
    ...(parts.length === 1 ? wgslOf(parts[0]!) : together(parts)),
    name: kernels.map((k) => k.name).join(" | "),
    writes: kernels.flatMap((k) => k.slots.map((s) => s.access !== "read")),
  };
}

/** Names differ where kernels do not: the text without its first line, which has them, decides. */
export function shaderKey({ code }: Shader): string {
  return code.slice(code.indexOf("\n"));
}

/** Compiles each distinct shader text once. */
export class Pipelines {
  readonly #compiler: ShaderCompiler;
  readonly #texts = new Map<string, Text>();
  readonly #team: CompileTeam | null;
  /** Texts that the driver compiles for this device, which no thread has compiled before. */
  #alone = 0;

  #limits: WgslLimits;

  constructor(
    readonly gpu: GPUDevice,
    limits: WgslLimits,
    begin: Begin = plainly,
    team: CompileTeam | null = null,
  ) {
    this.#limits = limits;
    this.#compiler = new ShaderCompiler(gpu, begin);
    this.#team = team;
  }

  get limits(): WgslLimits {
    return this.#limits;
  }

  /** Give products these tiles from now on, besides those that were given before. */
  useTiles(tuned: ReadonlyMap<string, string>): void {
    this.#limits = { ...this.#limits, tuned: new Map([...this.#limits.tuned ?? [], ...tuned]) };
  }

  /** Print and compile kernels as one launch; rejects with their names and the driver's message when it is not valid. */
  ready(kernels: readonly Kernel[], limits = this.limits): Promise<Ready> {
    return this.readyAll([kernels.map((k) => printed(k, limits))])[0]!;
  }

  /** {@linkcode ready} for launches whose kernels are printed, side by side; many are compiled on other threads first. */
  readyAll(launches: readonly (readonly Printed[])[]): readonly Promise<Ready>[] {
    const shaders = launches.map(launchShader);
    const texts = shaders.map((shader) => this.#textOf(shader));
    // What an earlier plan still waits for is asked for again, since this plan may be needed before that one.
    const asked = [...new Set(texts.filter((text) => text.isWaiting()))];
    // Few texts open no threads; where there are some, the device takes one text itself if it has none.
    const helped = asked.length >= MANY || this.#team?.size;
    const own = helped ? asked.slice(0, asked.length < MANY && this.#alone === 0 ? 1 : 0) : asked;
    const others = asked.slice(own.length);
    const first = others.length > 0 ? this.#team?.compile(others.map((t) => t.shader)) : undefined;
    asked.forEach((text) => text.read());
    own.forEach((text) => this.#take(text));
    others.forEach((text, i) => first ? first[i]!.then(text.begin) : this.#take(text));
    return shaders.map(async ({ name, workgroups }, i) => ({
      name,
      workgroups,
      ...await texts[i]!.compiled,
    }));
  }

  /** Have a text compiled that no thread has compiled. */
  #take(text: Text): void {
    this.#alone++;
    text.begin(null);
    text.compiled.catch(() => {}).then(() => this.#alone--);
  }

  #textOf(shader: Shader): Text {
    const key = shaderKey(shader), known = this.#texts.get(key);
    if (known) return known;
    const { promise, resolve } = Promise.withResolvers<number | null>();
    let isWaiting = true, read: ReadShader | null = null;
    const text: Text = {
      shader,
      isWaiting: () => isWaiting,
      read: () => read ??= this.#compiler.read(shader),
      begin: (thread) => {
        isWaiting = false;
        resolve(thread);
      },
      compiled: promise.then(async (thread) => {
        const compiling = this.#compiler.compile(text.read());
        // What the provider has made of the text is large, and not needed again.
        read = null;
        return { ...await compiling, thread };
      }),
    };
    this.#texts.set(key, text);
    return text;
  }
}

/** A text of this device. */
interface Text {
  readonly shader: Shader;
  /** Whether the device has not been asked to compile it. */
  readonly isWaiting: () => boolean;
  /** Have it checked, once: there is time while threads compile it. */
  readonly read: () => ReadShader;
  /** Ask it now; `thread` is the thread that compiled it before. */
  readonly begin: (thread: number | null) => void;
  readonly compiled: Promise<Compiled & Pick<Ready, "thread">>;
}
