/** Truncated factorisations of matrices that stay on their device. Randomised SVD: arXiv:0909.4061, Algorithm 4.4. @module */
import { Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix";
import { type Aval, aval, type Device, type DeviceArray, showAval } from "../core/mod.ts";
import type { Ask } from "../adapters/mod.ts";
import { cast, dotGeneral, matmul, slice } from "../ops/mod.ts";
import { filled } from "./counting_device.ts";
import { isNearUnit, square, toUnit, towardsUnit } from "./gram.ts";
import { type Runner, RunnerCache, runnerOf } from "./runner.ts";

/** Factors on the host: u f32[out, k], s f32[k], v f32[in, k], row-major. */
export interface HostFactors {
  readonly u: Float32Array;
  readonly s: Float32Array;
  readonly v: Float32Array;
}

/** Power iterations of the randomised SVD, as LoRA-GA's own code has them. */
const ITERATIONS = 4;
/** At least so many random directions, so that small matrices are decomposed exactly. */
const SMALL = 32;
/**
 * Rounds of orthonormalising where it must be exact: each squares away what the Gram matrix lost to f32 in the one
 * before. Between power iterations one is enough, so that directions stay apart.
 */
const ROUNDS = 3;

/**
 * A pair of singular vectors may be negated together: make the largest component of each column of v positive.
 * Otherwise rounding decides, and adapters that pair columns of u and v with different numbers start otherwise on
 * every device.
 */
function fixSigns(u: Float32Array, v: Float32Array, k: number): void {
  for (let column = 0; column < k; column++) {
    let largest = 0;
    for (let i = column; i < v.length; i += k) if (Math.abs(v[i]!) > Math.abs(largest)) largest = v[i]!;
    if (largest >= 0) continue;
    for (const side of [u, v]) for (let i = column; i < side.length; i += k) side[i] = -side[i]!;
  }
}

/**
 * Factorises matrices of one device, several at once where asked so; products run there, only what is thin or square and
 * small comes to the host. What is read of a device waits for it, so that several matrices together wait less.
 */
export class Factoriser {
  readonly #runners = new RunnerCache();
  readonly #arrays: DeviceArray[] = [];
  /** Arrays by type that hold nothing any more: the device does in order what it is told, so they may be written at once. */
  readonly #free = new Map<string, DeviceArray[]>();
  readonly #directions = new Map<string, DeviceArray>();

  /** `seed` decides the random directions, which matrices of equal width share. */
  constructor(readonly device: Device, readonly seed: number) {}

  /** Begin to compile what factors of a matrix of this type need; what goes wrong is told by {@linkcode factors}. */
  prepare(matrix: Aval, { by, columns: k }: Omit<Ask, "of">): void {
    if (by !== "svd") return;
    const [out, cols] = matrix.shape as [number, number], q = directionsOf(out, cols, k);
    const y = aval([out, q]), z = aval([cols, q]), thin = [y, z];
    const products = [
      ["forward", matrix, z] as const,
      ["back", matrix, y] as const,
      ...thin.map((x) => ["gram", x, x] as const),
      ...thin.flatMap((x) => [q, k].map((width) => ["turn", x, aval([q, width])] as const)),
    ];
    for (const [kind, a, b] of products) this.#runner(kind, a, b).catch(() => {});
  }

  /** The factors that an adapter asked for of a matrix [out, in]. */
  async factors(matrix: DeviceArray, { by, columns }: Omit<Ask, "of">): Promise<HostFactors> {
    return by === "svd" ? await this.#svd(matrix, columns) : await this.#qr(matrix, columns);
  }

  async #svd(matrix: DeviceArray, k: number): Promise<HostFactors> {
    const [out, cols] = matrix.aval.shape as [number, number];
    const q = directionsOf(out, cols, k);
    const basisOf = async (
      kind: "forward" | "back",
      of: DeviceArray,
      rounds: number,
    ): Promise<DeviceArray> => {
      const product = await this.#product(kind, matrix, of);
      const basis = await this.#orthonormal(product, rounds);
      this.#give(product);
      return basis;
    };
    let y = await basisOf("forward", this.#randomDirections(cols, q), 1);
    for (let i = 0; i < ITERATIONS; i++) {
      const z = await basisOf("back", y, 1);
      this.#give(y);
      y = await basisOf("forward", z, i === ITERATIONS - 1 ? ROUNDS : 1);
      this.#give(z);
    }
    // G ≈ Q·(Qᵀ·G); the small matrix between two orthonormal bases is decomposed on the host.
    const thin = await this.#product("back", matrix, y), z = await this.#orthonormal(thin, ROUNDS);
    const small = square(await this.#read(await this.#product("gram", z, thin)), q);
    const { leftSingularVectors, rightSingularVectors, diagonal } = new SingularValueDecomposition(small);
    const turned = async (basis: DeviceArray, turn: Matrix): Promise<Float32Array> => {
      const by = this.#keep(Float32Array.from(turn.subMatrix(0, q - 1, 0, k - 1).to1DArray()), q, k);
      const result = await this.#product("turn", basis, by);
      this.#give(by);
      return await this.#read(result);
    };
    const [u, v] = await Promise.all([
      turned(y, rightSingularVectors),
      turned(z, leftSingularVectors),
    ]);
    this.#give(y, z, thin);
    fixSigns(u, v, k);
    return { u, s: Float32Array.from(diagonal.slice(0, k)), v };
  }

  /** Q and R from the first columns: R's further columns are Qᵀ times the matrix. */
  async #qr(matrix: DeviceArray, k: number): Promise<HostFactors> {
    const { device } = this;
    const [out] = matrix.aval.shape as [number, number];
    const lead = await this.#runners.get(
      `lead ${k} ${showAval(matrix.aval)}`,
      () =>
        runnerOf(device, ({ m }) => ({ y: cast(slice(m, { start: [0, 0], stop: [out, k] }), "f32") }), {
          m: matrix.aval,
        }),
    );
    const panel = await device.download(lead.run(new Map([["m", matrix]])).get("y")!);
    const basis = new QrDecomposition(Matrix.from1DArray(out, k, panel as Float32Array)).orthogonalMatrix;
    const u = Float32Array.from(basis.to1DArray()), left = this.#keep(u, out, k);
    const v = await this.#read(await this.#product("back", matrix, left));
    this.#give(left);
    return { u, s: new Float32Array(k).fill(1), v };
  }

  /**
   * An orthonormal basis of the columns of y f32[n, q], in some rounds, each from its Gram matrix. Directions without
   * weight become some orthonormal ones.
   */
  async #orthonormal(y: DeviceArray, rounds: number): Promise<DeviceArray> {
    const q = y.aval.shape[1]!;
    let basis = y;
    for (let round = 0; round < rounds; round++) {
      const gram = await this.#read(await this.#product("gram", basis, basis));
      const turn = this.#keep(
        round > 0 && isNearUnit(gram, q) ? towardsUnit(gram, q) : toUnit(gram, q),
        q,
        q,
      );
      const turned = await this.#product("turn", basis, turn);
      this.#give(turn, ...(round > 0 ? [basis] : []));
      basis = turned;
    }
    return basis;
  }

  /** A product in f32, in an array of its own. */
  async #product(kind: Product, a: DeviceArray, b: DeviceArray): Promise<DeviceArray> {
    const shape = productOf(kind, a.aval, b.aval), run = await this.#runner(kind, a.aval, b.aval);
    const into = this.#free.get(showAval(shape))?.pop() ?? this.#own(filled(this.device, 0, shape));
    run.run(new Map([["a", a], ["b", b], ["into", into]]));
    return into;
  }

  #runner(kind: Product, a: Aval, b: Aval): Promise<Runner> {
    const transposed = isTransposed(kind);
    return this.#runners.get(
      `${transposed} ${showAval(a)} ${showAval(b)}`,
      () =>
        runnerOf(
          this.device,
          ({ a, b }) => ({
            into: transposed ? dotGeneral(a, b, { batch: [[], []], inner: [[0], [0]] }) : matmul(a, b),
          }),
          { a, b, into: productOf(kind, a, b) },
          { inPlace: ["into"], exact: true },
        ),
    );
  }

  #randomDirections(n: number, q: number): DeviceArray {
    const known = this.#directions.get(`${n} ${q}`);
    if (known) return known;
    const made = this.#keep(gaussian(n * q, this.seed), n, q);
    this.#directions.set(`${n} ${q}`, made);
    return made;
  }

  /** The numbers of an array that is needed no more. */
  async #read(array: DeviceArray): Promise<Float32Array> {
    const data = await this.device.download(array);
    this.#give(array);
    return data as Float32Array;
  }

  /** An array with these numbers. */
  #keep(data: Float32Array, ...shape: number[]): DeviceArray {
    const at = aval(shape), free = this.#free.get(showAval(at))?.pop();
    if (!free) return this.#own(this.device.upload(data, at));
    this.device.write(free, data);
    return free;
  }

  #own(array: DeviceArray): DeviceArray {
    this.#arrays.push(array);
    return array;
  }

  /** Arrays that nobody needs any more. */
  #give(...arrays: readonly DeviceArray[]): void {
    for (const array of arrays) {
      const kind = showAval(array.aval), list = this.#free.get(kind) ?? [];
      this.#free.set(kind, list);
      list.push(array);
    }
  }

  /** Give back what the plans and the arrays hold. */
  async dispose(): Promise<void> {
    await this.#runners.dispose();
    for (const array of this.#arrays.splice(0)) this.device.free(array);
    this.#free.clear();
    this.#directions.clear();
  }
}

/** forward: a·b; back: aᵀ·b; gram: aᵀ·b of two thin ones; turn: a·b with b small. */
type Product = "forward" | "back" | "gram" | "turn";

function isTransposed(kind: Product): boolean {
  return kind === "back" || kind === "gram";
}

function productOf(kind: Product, a: Aval, b: Aval): Aval {
  return aval([a.shape[isTransposed(kind) ? 1 : 0]!, b.shape[1]!]);
}

/** Random directions for k singular triples. */
function directionsOf(out: number, cols: number, k: number): number {
  return Math.min(out, cols, Math.max(SMALL, 2 * k));
}

/** Standard normal numbers from a small generator (mulberry32, Box and Muller): directions to start from, no more. */
function gaussian(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}
