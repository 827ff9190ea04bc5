/**
 * A memo of one entry: successive buyers of a sale mostly send the same basket against the same view of the sale.
 * The first two arguments are the key, compared by identity. The third is passed to the computation only, so a result
 * must stay valid while the key is the same.
 */
export function memoizeLast<A, B, Result, Extra = void>(
  compute: (first: A, second: B, extra: Extra) => Result,
): (first: A, second: B, extra: Extra) => Result {
  let last: { first: A; second: B; result: Result } | undefined;
  return (first, second, extra) => {
    if (last?.first !== first || last.second !== second) {
      last = { first, second, result: compute(first, second, extra) };
    }
    return last.result;
  };
}
