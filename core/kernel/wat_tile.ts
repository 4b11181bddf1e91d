/**
 * The register tile of the matrix product: 6 rows by 8 columns in 12 accumulators, which with two column vectors and one
 * row value fill the vector registers that the engine hands out. @module
 */

/** Rows of a register tile. */
export const TILE_ROWS = 6;
/** Columns of a register tile, and of a packed panel: element (k, column) of a panel is at `32·k + 4·column`. */
export const TILE_COLS = 8;

const rows = [...Array(TILE_ROWS).keys()];

/** One text for each row, joined. */
function each(text: (i: number) => string): string {
  return rows.map(text).join("\n");
}

/** Multiply-adds of one inner index: row values at `left(i)`, columns `offset` bytes after `$b`. */
function rankOne(left: (i: number) => string, offset = 0): string {
  return `
    (local.set $b0 (v128.load offset=${offset} (local.get $b)))
    (local.set $b1 (v128.load offset=${offset + 16} (local.get $b)))
    ${
    each((i) => `
    (local.set $v (v128.load32_splat ${left(i)}))
    (local.set $c${i}0 (f32x4.relaxed_madd (local.get $v) (local.get $b0) (local.get $c${i}0)))
    (local.set $c${i}1 (f32x4.relaxed_madd (local.get $v) (local.get $b1) (local.get $c${i}1)))`)
  }`;
}

const accumulators = each((i) => `(local $c${i}0 v128) (local $c${i}1 v128)`);

/** Begin the tile at `$c` with the accumulators, or add them to it. */
const finish = `
  (if (local.get $first) (then
    ${
  each((i) => `
    (v128.store (local.get $c) (local.get $c${i}0))
    (v128.store offset=16 (local.get $c) (local.get $c${i}1))
    (local.set $c (i32.add (local.get $c) (local.get $ldc)))`)
}
  ) (else
    ${
  each((i) => `
    (v128.store (local.get $c) (f32x4.add (v128.load (local.get $c)) (local.get $c${i}0)))
    (v128.store offset=16 (local.get $c) (f32x4.add (v128.load offset=16 (local.get $c)) (local.get $c${i}1)))
    (local.set $c (i32.add (local.get $c) (local.get $ldc)))`)
}))`;

// Rows `lda` bytes apart, inner indices 4; where fewer than 6 `$rows` are left the last one is read again.
const tileByRows = `
(func $tileByRows (param $a i32) (param $lda i32) (param $b i32) (param $c i32) (param $ldc i32) (param $k i32)
  (param $rows i32) (param $first i32)
  (local $v v128) (local $b0 v128) (local $b1 v128) ${accumulators} ${each((i) => `(local $p${i} i32)`)}
  (local.set $p0 (local.get $a))
  ${
  rows.slice(1).map((i) => `
  (local.set $p${i} (i32.add (local.get $p${i - 1})
    (select (local.get $lda) (i32.const 0) (i32.gt_s (local.get $rows) (i32.const ${i})))))`).join("")
}
  (if (i32.ge_u (local.get $k) (i32.const 4)) (then (loop $four
    ${[0, 1, 2, 3].map((u) => rankOne((i) => `offset=${4 * u} (local.get $p${i})`, 32 * u)).join("")}
    ${each((i) => `(local.set $p${i} (i32.add (local.get $p${i}) (i32.const 16)))`)}
    (local.set $b (i32.add (local.get $b) (i32.const 128)))
    (br_if $four (i32.ge_u (local.tee $k (i32.sub (local.get $k) (i32.const 4))) (i32.const 4))))))
  (if (local.get $k) (then (loop $one
    ${rankOne((i) => `(local.get $p${i})`)}
    ${each((i) => `(local.set $p${i} (i32.add (local.get $p${i}) (i32.const 4)))`)}
    (local.set $b (i32.add (local.get $b) (i32.const 32)))
    (br_if $one (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))))
  ${finish})`;

// Rows 4 bytes apart, inner indices `lda`.
const tileByInner = `
(func $tileByInner (param $a i32) (param $lda i32) (param $b i32) (param $c i32) (param $ldc i32) (param $k i32)
  (param $rows i32) (param $first i32)
  (local $v v128) (local $b0 v128) (local $b1 v128) ${accumulators}
  (loop $one
    ${rankOne((i) => `offset=${4 * i} (local.get $a)`)}
    (local.set $a (i32.add (local.get $a) (local.get $lda)))
    (local.set $b (i32.add (local.get $b) (i32.const 32)))
    (br_if $one (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
  ${finish})`;

/** All tiles of a block: C[rows][8·panels] = A·B where `first`, else C += A·B; the panels of B are `panel` bytes apart. */
function sweep(name: string, tile: string, rowBytes: string): string {
  return `
(func (export "${name}") (param $a i32) (param $lda i32) (param $b i32) (param $panel i32) (param $c i32)
  (param $ldc i32) (param $k i32) (param $rows i32) (param $panels i32) (param $first i32)
  (local $n i32) (local $pb i32) (local $pc i32)
  (loop $row
    (local.set $n (local.get $panels))
    (local.set $pb (local.get $b))
    (local.set $pc (local.get $c))
    (loop $col
      (call $${tile} (local.get $a) (local.get $lda) (local.get $pb) (local.get $pc) (local.get $ldc) (local.get $k)
        (local.get $rows) (local.get $first))
      (local.set $pb (i32.add (local.get $pb) (local.get $panel)))
      (local.set $pc (i32.add (local.get $pc) (i32.const ${4 * TILE_COLS})))
      (br_if $col (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.set $a (i32.add (local.get $a) (i32.mul ${rowBytes} (i32.const ${TILE_ROWS}))))
    (local.set $c (i32.add (local.get $c) (i32.mul (local.get $ldc) (i32.const ${TILE_ROWS}))))
    (local.set $rows (i32.sub (local.get $rows) (i32.const ${TILE_ROWS})))
    (br_if $row (i32.gt_s (local.get $rows) (i32.const 0)))))`;
}

/** Text of `sweepByRows` and `sweepByInner`. */
export const tileFunctions: string = [
  tileByRows,
  tileByInner,
  sweep("sweepByRows", "tileByRows", "(local.get $lda)"),
  sweep("sweepByInner", "tileByInner", "(i32.const 4)"),
].join("\n");
