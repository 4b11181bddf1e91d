/**
 * Stages in WebAssembly on panels of 8 rows: position p of the axis holds its 8 values at `32·p`, so every block size and
 * stride works on full vectors. @module
 */

/** Walk the `blocks` of a stage from `x` (and `y`) on: `leg` bytes between legs, `stride` neighbours, then the next group. */
function blockLoop(locals: string, body: string): string {
  return `
  (param $blocks i32) (param $radix i32) (param $stride i32) (param $piece i32)
  (local $lane i32) (local $leg i32) (local $span i32) (local $next i32) (local $coefficients i32) ${locals}
  (local.set $leg (i32.shl (i32.mul (local.get $stride) (local.get $piece)) (i32.const 5)))
  (local.set $span (i32.shl (local.get $piece) (i32.const 5)))
  (local.set $next (i32.add (i32.mul (local.get $leg) (i32.sub (local.get $radix) (i32.const 1))) (local.get $span)))
  (local.set $coefficients (i32.mul (local.get $radix) (local.get $piece)))
  (local.set $coefficients (i32.mul (local.get $coefficients) (local.get $coefficients)))
  (loop $block
    ${body}
    (local.set $lane (i32.add (local.get $lane) (i32.const 1)))
    (if (i32.eq (local.get $lane) (local.get $stride)) (then
      (local.set $lane (i32.const 0))
      (local.set $x (i32.add (local.get $x) (local.get $next)))
      (local.set $y (i32.add (local.get $y) (local.get $next)))
    ) (else
      (local.set $x (i32.add (local.get $x) (local.get $span)))
      (local.set $y (i32.add (local.get $y) (local.get $span)))))
    (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))`;
}

/** How outputs of a block are computed. */
interface Outputs {
  /** Neighbouring outputs at a time. */
  readonly count: number;
  /** Inputs at a time; divides the piece. */
  readonly inputs: number;
  readonly transposed: boolean;
}

function nameOf({ count, inputs, transposed }: Outputs): string {
  return `$outputs${count}by${inputs}${transposed ? "transposed" : ""}`;
}

/**
 * Neighbouring outputs of one block: y_j = Σ_k c[j][k] · x_k, or c[k][j] transposed; a row of c has `row` bytes. What
 * counts is the number of instructions: addresses move as seldom as they can.
 */
function outputs(how: Outputs): string {
  const { count, inputs, transposed } = how;
  const each = (text: (j: number) => string, n = count): string => [...Array(n).keys()].map(text).join("\n");
  const step = (name: string, by: string): string =>
    `(local.set ${name} (i32.add (local.get ${name}) ${by}))`;
  const load = (j: number, k: number): string =>
    `(v128.load32_splat offset=${transposed ? 4 * j : 4 * k} (local.get $c${transposed ? 0 : j}))`;
  return `
(func ${nameOf(how)} (param $x i32) (param $y i32) (param $c0 i32) (param $row i32)
  (param $radix i32) (param $leg i32) (param $piece i32)
  (local $k i32) (local $p i32) (local $x0 v128) (local $x1 v128) (local $v v128)
  ${
    each((j) =>
      `${j === 0 || transposed ? "" : `(local $c${j} i32) `}(local $s${j} v128) (local $t${j} v128)`
    )
  }
  ${
    transposed
      ? ""
      : each((j) => j === 0 ? "" : `(local.set $c${j} (i32.add (local.get $c${j - 1}) (local.get $row)))`)
  }
  (loop $legs
    (local.set $p (local.get $x))
    (local.set $k (local.get $piece))
    (loop $within
      ${
    each((k) => `
      (local.set $x0 (v128.load offset=${32 * k} (local.get $p)))
      (local.set $x1 (v128.load offset=${32 * k + 16} (local.get $p)))
      ${
      each((j) => `
      (local.set $v ${load(j, k)})
      (local.set $s${j} (f32x4.relaxed_madd (local.get $v) (local.get $x0) (local.get $s${j})))
      (local.set $t${j} (f32x4.relaxed_madd (local.get $v) (local.get $x1) (local.get $t${j})))`)
    }
      ${transposed ? step("$c0", "(local.get $row)") : ""}`, inputs)
  }
      ${transposed ? "" : each((j) => step(`$c${j}`, `(i32.const ${4 * inputs})`))}
      ${step("$p", `(i32.const ${32 * inputs})`)}
      (br_if $within (local.tee $k (i32.sub (local.get $k) (i32.const ${inputs})))))
    ${step("$x", "(local.get $leg)")}
    (br_if $legs (local.tee $radix (i32.sub (local.get $radix) (i32.const 1)))))
  ${
    each((j) => `
  (v128.store offset=${32 * j} (local.get $y) (local.get $s${j}))
  (v128.store offset=${32 * j + 16} (local.get $y) (local.get $t${j}))`)
  })`;
}

/** Call of {@linkcode outputs} and the step past what it wrote. */
function callOutputs(how: Outputs): string {
  const next = how.transposed
    ? `(i32.const ${4 * how.count})`
    : `(i32.mul (local.get $row) (i32.const ${how.count}))`;
  return `
        (call ${nameOf(how)} (local.get $x) (local.get $p) (local.get $q) (local.get $row)
          (local.get $radix) (local.get $leg) (local.get $piece))
        (local.set $p (i32.add (local.get $p) (i32.const ${32 * how.count})))
        (local.set $q (i32.add (local.get $q) ${next}))
        (local.set $j (i32.sub (local.get $j) (i32.const ${how.count})))`;
}

/** y = one stage of x, whose coefficients c[n][j][k] are those of output j and input k, or of j and k swapped. */
function stage(transposed: boolean): string {
  const call = (count: number, inputs = 1): string => callOutputs({ count, inputs, transposed });
  return `
(func (export "${transposed ? "stageTransposed" : "stage"}") (param $x i32) (param $y i32) (param $c i32)
${
    blockLoop(
      "(local $r i32) (local $j i32) (local $p i32) (local $q i32) (local $out i32) (local $row i32)",
      `
    (local.set $row (i32.shl (i32.mul (local.get $radix) (local.get $piece)) (i32.const 2)))
    (local.set $r (local.get $radix))
    (local.set $out (local.get $y))
    (local.set $q (local.get $c))
    (loop $legs
      (local.set $p (local.get $out))
      (local.set $j (local.get $piece))
      (loop $outputs
        (if (i32.eqz (i32.and (local.get $piece) (i32.const 3))) (then ${call(4, 4)})
        (else (if (i32.ge_u (local.get $j) (i32.const 4)) (then ${call(4)})
        (else (if (i32.ge_u (local.get $j) (i32.const 2)) (then ${call(2)})
        (else ${call(1)}))))))
        (br_if $outputs (local.get $j)))
      (local.set $out (i32.add (local.get $out) (local.get $leg)))
      (br_if $legs (local.tee $r (i32.sub (local.get $r) (i32.const 1)))))
    (local.set $c (i32.add (local.get $c) (i32.shl (local.get $coefficients) (i32.const 2))))`,
    )
  })`;
}

/** `sums[j][k] += y_j·x_k` for all j of a block and `count` neighbouring k; a row of sums has `row` bytes. */
function products(count: number): string {
  const each = (text: (k: number) => string): string => [...Array(count).keys()].map(text).join("\n");
  return `
(func $products${count} (param $x i32) (param $y i32) (param $sums i32) (param $row i32)
  (param $radix i32) (param $leg i32) (param $piece i32)
  (local $j i32) (local $p i32) (local $y0 v128) (local $y1 v128)
  ${each((k) => `(local $s${k} v128) (local $t${k} v128)`)}
  ${
    each((k) => `
  (local.set $s${k} (v128.load offset=${32 * k} (local.get $x)))
  (local.set $t${k} (v128.load offset=${32 * k + 16} (local.get $x)))`)
  }
  (loop $legs
    (local.set $p (local.get $y))
    (local.set $j (local.get $piece))
    (loop $within
      (local.set $y0 (v128.load (local.get $p)))
      (local.set $y1 (v128.load offset=16 (local.get $p)))
      (local.set $p (i32.add (local.get $p) (i32.const 32)))
      ${
    each((k) => `
      (v128.store offset=${16 * k} (local.get $sums)
        (f32x4.relaxed_madd (local.get $y1) (local.get $t${k})
        (f32x4.relaxed_madd (local.get $y0) (local.get $s${k}) (v128.load offset=${
      16 * k
    } (local.get $sums)))))`)
  }
      (local.set $sums (i32.add (local.get $sums) (local.get $row)))
      (br_if $within (local.tee $j (i32.sub (local.get $j) (i32.const 1)))))
    (local.set $y (i32.add (local.get $y) (local.get $leg)))
    (br_if $legs (local.tee $radix (i32.sub (local.get $radix) (i32.const 1))))))`;
}

/** Call of `$products<count>` and the step past the inputs that it took. */
function callProducts(count: number): string {
  return `
        (call $products${count} (local.get $p) (local.get $y) (local.get $q) (local.get $row)
          (local.get $radix) (local.get $leg) (local.get $piece))
        (local.set $p (i32.add (local.get $p) (i32.const ${32 * count})))
        (local.set $q (i32.add (local.get $q) (i32.const ${16 * count})))
        (local.set $k (i32.sub (local.get $k) (i32.const ${count})))`;
}

// sums[n][j][k] += y_j·x_k for the blocks of a stage: four partial sums (over rows) for each coefficient.
const outer = `
(func (export "outer") (param $x i32) (param $y i32) (param $sums i32)
${
  blockLoop(
    "(local $r i32) (local $k i32) (local $p i32) (local $q i32) (local $from i32) (local $row i32)",
    `
    (local.set $row (i32.shl (i32.mul (local.get $radix) (local.get $piece)) (i32.const 4)))
    (local.set $r (local.get $radix))
    (local.set $from (local.get $x))
    (local.set $q (local.get $sums))
    (loop $legs
      (local.set $p (local.get $from))
      (local.set $k (local.get $piece))
      (loop $inputs
        (if (i32.ge_u (local.get $k) (i32.const 4)) (then ${callProducts(4)})
        (else (if (i32.ge_u (local.get $k) (i32.const 2)) (then ${callProducts(2)})
        (else ${callProducts(1)}))))
        (br_if $inputs (local.get $k)))
      (local.set $from (i32.add (local.get $from) (local.get $leg)))
      (br_if $legs (local.tee $r (i32.sub (local.get $r) (i32.const 1)))))
    (local.set $sums (i32.add (local.get $sums) (i32.shl (local.get $coefficients) (i32.const 4))))`,
  )
})`;

// Four partial sums each to one number: out[i] = Σ sums[i].
const fold = `
(func (export "fold") (param $sums i32) (param $out i32) (param $count i32)
  (local $v v128)
  (loop $next
    (local.set $v (v128.load (local.get $sums)))
    (local.set $v (f32x4.add (local.get $v)
      (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $v) (local.get $v))))
    (f32.store (local.get $out)
      (f32.add (f32x4.extract_lane 0 (local.get $v)) (f32x4.extract_lane 1 (local.get $v))))
    (local.set $sums (i32.add (local.get $sums) (i32.const 16)))
    (local.set $out (i32.add (local.get $out) (i32.const 4)))
    (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))`;

// Zero the rows from `rows` on (of 8) at `count` positions: they only fill the panel up.
const blank = `
(func (export "blank") (param $x i32) (param $count i32) (param $rows i32)
  (local $m v128) (local $n v128)
  (local.set $m (i32x4.lt_u (v128.const i32x4 0 1 2 3) (i32x4.splat (local.get $rows))))
  (local.set $n (i32x4.lt_u (v128.const i32x4 4 5 6 7) (i32x4.splat (local.get $rows))))
  (loop $next
    (v128.store (local.get $x) (v128.and (v128.load (local.get $x)) (local.get $m)))
    (v128.store offset=16 (local.get $x) (v128.and (v128.load offset=16 (local.get $x)) (local.get $n)))
    (local.set $x (i32.add (local.get $x) (i32.const 32)))
    (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))`;

const shapes = [{ count: 4, inputs: 4 }, ...[4, 2, 1].map((count) => ({ count, inputs: 1 }))];

/** Text of `stage`, `stageTransposed`, `outer`, `fold` and `blank`. */
export const mixFunctions: string = [
  ...[false, true].flatMap((transposed) => [
    ...shapes.map((shape) => outputs({ ...shape, transposed })),
    stage(transposed),
  ]),
  ...[4, 2, 1].map(products),
  outer,
  fold,
  blank,
].join("\n");
