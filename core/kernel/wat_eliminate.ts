/** Gauss elimination in WebAssembly. @module */

/**
 * Text of `eliminate`: A[n][n] and B side by side in rows of `row` bytes, B from `right` bytes on, both multiples of 16:
 * B becomes A⁻¹·B, without pivots.
 */
export const eliminateFunctions: string = `
(func $subtract (param $to i32) (param $from i32) (param $bytes i32) (param $factor f32)
  (local $v v128)
  (local.set $v (f32x4.splat (local.get $factor)))
  (loop $four
    (v128.store (local.get $to)
      (f32x4.sub (v128.load (local.get $to)) (f32x4.mul (local.get $v) (v128.load (local.get $from)))))
    (local.set $to (i32.add (local.get $to) (i32.const 16)))
    (local.set $from (i32.add (local.get $from) (i32.const 16)))
    (br_if $four (local.tee $bytes (i32.sub (local.get $bytes) (i32.const 16))))))

(func $divide (param $to i32) (param $bytes i32) (param $divisor f32)
  (local $v v128)
  (local.set $v (f32x4.splat (local.get $divisor)))
  (loop $four
    (v128.store (local.get $to) (f32x4.div (v128.load (local.get $to)) (local.get $v)))
    (local.set $to (i32.add (local.get $to) (i32.const 16)))
    (br_if $four (local.tee $bytes (i32.sub (local.get $bytes) (i32.const 16))))))

(func (export "eliminate") (param $m i32) (param $n i32) (param $row i32) (param $right i32)
  (local $p i32) (local $r i32) (local $pivot i32) (local $other i32) (local $column i32) (local $skip i32)
  ;; Down: each pivot's row, from the pivot's group of four columns on, leaves the rows below it.
  (local.set $pivot (local.get $m))
  (loop $down
    (local.set $column (i32.shl (local.get $p) (i32.const 2)))
    (local.set $skip (i32.and (local.get $column) (i32.const -16)))
    (local.set $other (local.get $pivot))
    (local.set $r (i32.sub (local.get $n) (i32.add (local.get $p) (i32.const 1))))
    (if (local.get $r) (then (loop $below
      (local.set $other (i32.add (local.get $other) (local.get $row)))
      (call $subtract
        (i32.add (local.get $other) (local.get $skip))
        (i32.add (local.get $pivot) (local.get $skip))
        (i32.sub (local.get $row) (local.get $skip))
        (f32.div (f32.load (i32.add (local.get $other) (local.get $column)))
          (f32.load (i32.add (local.get $pivot) (local.get $column)))))
      (br_if $below (local.tee $r (i32.sub (local.get $r) (i32.const 1)))))))
    (local.set $pivot (i32.add (local.get $pivot) (local.get $row)))
    (br_if $down (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (local.get $n))))
  ;; Up: each row of B is divided by its pivot and leaves the rows above it.
  (loop $up
    (local.set $p (i32.sub (local.get $p) (i32.const 1)))
    (local.set $pivot (i32.sub (local.get $pivot) (local.get $row)))
    (local.set $column (i32.shl (local.get $p) (i32.const 2)))
    (call $divide
      (i32.add (local.get $pivot) (local.get $right))
      (i32.sub (local.get $row) (local.get $right))
      (f32.load (i32.add (local.get $pivot) (local.get $column))))
    (local.set $other (local.get $m))
    (if (i32.lt_u (local.get $other) (local.get $pivot)) (then (loop $above
      (call $subtract
        (i32.add (local.get $other) (local.get $right))
        (i32.add (local.get $pivot) (local.get $right))
        (i32.sub (local.get $row) (local.get $right))
        (f32.load (i32.add (local.get $other) (local.get $column))))
      (br_if $above (i32.lt_u (local.tee $other (i32.add (local.get $other) (local.get $row))) (local.get $pivot))))))
    (br_if $up (local.get $p))))`;
