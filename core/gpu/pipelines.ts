/** Compiled shaders of one device, shared by all plans on it. @module */
import type { Kernel } from "../kernel/kernel.ts";
import { type Printed, printed, type Wgsl, type WgslLimits, wgslOf } from "../kernel/wgsl.ts";
import { together } from "../kernel/wgsl_together.ts";
import type { CompileTeam } from "./compile_team.ts";
import { type Begin, plainly } from "./pace.ts";
import { type Compiled, type Shader, ShaderCompiler } from "./shader.ts";

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
  readonly #compiled = new Map<string, Promise<Compiled & Pick<Ready, "thread">>>();
  readonly #team: CompileTeam | null;

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
    const fresh = new Map(
      shaders.map((s) => [shaderKey(s), s] as const).filter(([key]) => !this.#compiled.has(key)),
    );
    const first = fresh.size >= MANY ? this.#team?.compile([...fresh.values()]) : undefined;
    [...fresh].forEach(([key, shader], i) => this.#compiled.set(key, this.#compile(shader, first?.[i])));
    return shaders.map(async (shader) => {
      const { name, workgroups } = shader;
      return { name, workgroups, ...await this.#compiled.get(shaderKey(shader))! };
    });
  }

  async #compile(shader: Shader, first?: Promise<number | null>): Promise<Compiled & Pick<Ready, "thread">> {
    const read = this.#compiler.read(shader), thread = first ? await first : null;
    return { ...await this.#compiler.compile(read), thread };
  }
}
