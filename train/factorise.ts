/** Truncated factorisations of matrices that stay on their device. Randomised SVD: arXiv:0909.4061, Algorithm 4.4. @module */
import { EigenvalueDecomposition, Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix";
import { aval, type Device, type DeviceArray, type HostArray, showAval } from "../core/mod.ts";
import type { Ask } from "../adapters/mod.ts";
import { cast, dotGeneral, matmul, slice } from "../ops/mod.ts";
import { RunnerCache, runnerOf } from "./runner.ts";

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

/** Factorises matrices of one device; products run there, only what is thin or square and small comes to the host. */
export class Factoriser {
  readonly #runners = new RunnerCache();

  constructor(readonly device: Device) {}

  /** The factors that an adapter asked for of a matrix [out, in]. `seed` decides the random directions. */
  async factors(matrix: DeviceArray, { by, columns }: Omit<Ask, "of">, seed: number): Promise<HostFactors> {
    return by === "svd" ? await this.#svd(matrix, columns, seed) : await this.#qr(matrix, columns);
  }

  async #svd(matrix: DeviceArray, k: number, seed: number): Promise<HostFactors> {
    const [out, cols] = matrix.aval.shape as [number, number];
    const least = Math.min(out, cols);
    const q = Math.min(least, Math.max(SMALL, 2 * k));
    const { device } = this;
    const owned: DeviceArray[] = [];
    const keep = (data: Float32Array, ...shape: number[]): DeviceArray => {
      const array = device.upload(data, aval(shape));
      owned.push(array);
      return array;
    };
    try {
      let z = keep(gaussian(cols * q, seed), cols, q);
      let y = await this.#orthonormal(await this.#product("forward", matrix, z, keep), keep, 1);
      for (let i = 0; i < ITERATIONS; i++) {
        const rounds = i === ITERATIONS - 1 ? ROUNDS : 1;
        z = await this.#orthonormal(await this.#product("back", matrix, y, keep), keep, 1);
        y = await this.#orthonormal(await this.#product("forward", matrix, z, keep), keep, rounds);
      }
      // G ≈ Q·(Qᵀ·G); the small matrix between two orthonormal bases is decomposed on the host.
      const thin = await this.#product("back", matrix, y, keep);
      z = await this.#orthonormal(thin, keep, ROUNDS);
      const small = square(await device.download(await this.#product("gram", z, thin, keep)), q);
      const { leftSingularVectors, rightSingularVectors, diagonal } = new SingularValueDecomposition(small);
      const turn = (m: Matrix): DeviceArray =>
        keep(Float32Array.from(m.subMatrix(0, q - 1, 0, k - 1).to1DArray()), q, k);
      const u = await this.#product("turn", y, turn(rightSingularVectors), keep);
      const v = await this.#product("turn", z, turn(leftSingularVectors), keep);
      const [left, right] = await Promise.all([device.download(u), device.download(v)]) as Float32Array[];
      fixSigns(left!, right!, k);
      return { u: left!, s: Float32Array.from(diagonal.slice(0, k)), v: right! };
    } finally {
      owned.forEach((array) => device.free(array));
    }
  }

  /** Q and R from the first columns: R's further columns are Qᵀ times the matrix. */
  async #qr(matrix: DeviceArray, k: number): Promise<HostFactors> {
    const { device } = this;
    const [out] = matrix.aval.shape as [number, number];
    const owned: DeviceArray[] = [];
    const keep = (data: Float32Array, ...shape: number[]): DeviceArray => {
      const array = device.upload(data, aval(shape));
      owned.push(array);
      return array;
    };
    try {
      const lead = await this.#runners.get(
        `lead ${k} ${showAval(matrix.aval)}`,
        () =>
          runnerOf(device, ({ m }) => ({ y: cast(slice(m, { start: [0, 0], stop: [out, k] }), "f32") }), {
            m: matrix.aval,
          }),
      );
      const panel = await device.download(lead.run(new Map([["m", matrix]])).get("y")!);
      const basis = new QrDecomposition(Matrix.from1DArray(out, k, panel as Float32Array)).orthogonalMatrix;
      const u = Float32Array.from(basis.to1DArray());
      const v = await this.#product("back", matrix, keep(u, out, k), keep);
      return { u, s: new Float32Array(k).fill(1), v: await device.download(v) as Float32Array };
    } finally {
      owned.forEach((array) => device.free(array));
    }
  }

  /**
   * An orthonormal basis of the columns of y f32[n, q]: y·V·D^(−½) from its Gram matrix V·D·Vᵀ, some rounds. Directions
   * without weight become some orthonormal ones.
   */
  async #orthonormal(
    y: DeviceArray,
    keep: (data: Float32Array, ...shape: number[]) => DeviceArray,
    rounds: number,
  ): Promise<DeviceArray> {
    const q = y.aval.shape[1]!;
    for (let round = 0; round < rounds; round++) {
      const gram = square(await this.device.download(await this.#product("gram", y, y, keep)), q);
      const { realEigenvalues: d, eigenvectorMatrix: v } = new EigenvalueDecomposition(gram, {
        assumeSymmetric: true,
      });
      const least = Math.max(...d) * 1e-7;
      const scaled = Matrix.zeros(q, q);
      for (let i = 0; i < q; i++) {
        for (let j = 0; j < q; j++) {
          scaled.set(i, j, least > 0 ? v.get(i, j) / Math.sqrt(Math.max(d[j]!, least)) : v.get(i, j));
        }
      }
      y = await this.#product("turn", y, keep(Float32Array.from(scaled.to1DArray()), q, q), keep);
    }
    return y;
  }

  /** forward: a·b; back: aᵀ·b; gram: aᵀ·b of two thin ones; turn: a·b with b small. In f32, into an array of its own. */
  async #product(
    kind: "forward" | "back" | "gram" | "turn",
    a: DeviceArray,
    b: DeviceArray,
    keep: (data: Float32Array, ...shape: number[]) => DeviceArray,
  ): Promise<DeviceArray> {
    const [rows, cols] = a.aval.shape as [number, number];
    const width = b.aval.shape[1]!;
    const isTransposed = kind === "back" || kind === "gram";
    const shape = [isTransposed ? cols : rows, width];
    const run = await this.#runners.get(
      `${isTransposed} ${showAval(a.aval)} ${showAval(b.aval)}`,
      () =>
        runnerOf(
          this.device,
          ({ a, b }) => ({
            into: isTransposed ? dotGeneral(a, b, { batch: [[], []], inner: [[0], [0]] }) : matmul(a, b),
          }),
          { a: a.aval, b: b.aval, into: aval(shape) },
          ["into"],
        ),
    );
    const into = keep(new Float32Array(shape[0]! * width), ...shape);
    run.run(new Map([["a", a], ["b", b], ["into", into]]));
    return into;
  }

  /** Give back what the plans hold. */
  async dispose(): Promise<void> {
    await this.#runners.dispose();
  }
}

/** Throws RangeError for numbers that are not finite, which the host's iterations would never end on. */
function square(data: HostArray, n: number): Matrix {
  if (!data.every(Number.isFinite)) throw new RangeError("A matrix to factorise is not finite.");
  return Matrix.from1DArray(n, n, data as Float32Array);
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
