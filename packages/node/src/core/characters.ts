/**
 * Characters that no name may contain, the same in every language and with every version of Unicode.
 *
 * The ranges are those of `roomkey.core.characters`: categories Cc, Cf, Cs, Co, Zl, Zp, and Zs but the plain space, of
 * Unicode 16. They are written out, because an engine's own tables are of one version of Unicode.
 */

const REJECTED = new RegExp(
  "[" +
    "\\0-\\x1f\\x7f-\\xa0\\xad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u1680\\u180e\\u2000-\\u200f" +
    "\\u2028-\\u202f\\u205f-\\u2064\\u2066-\\u206f\\u3000\\ud800-\\uf8ff\\ufeff\\ufff9-\\ufffb\\u{110bd}\\u{110cd}" +
    "\\u{13430}-\\u{1343f}\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0001}\\u{e0020}-\\u{e007f}" +
    "\\u{f0000}-\\u{ffffd}\\u{100000}-\\u{10fffd}" +
    "]",
  "u",
);

/** Return true if a name may consist of these characters. */
export function isClean(text: string): boolean {
  return !REJECTED.test(text);
}

/** Return true if a text has at most `limit` code points. */
export function isWithin(text: string, limit: number): boolean {
  if (text.length <= limit) return true;
  if (text.length > 2 * limit) return false;
  return [...text].length <= limit;
}

/** One character that Python's `str.strip` takes off, so that settings and cookies are read alike. */
const SPACE = /[\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/**
 * Take characters off both ends, in one pass: a regular expression for both ends is quadratic in the spaces of a header.
 *
 * @param outer matches one of the characters. Default: white space.
 */
export function strip(text: string, outer = SPACE): string {
  let start = 0;
  let end = text.length;
  while (start < end && outer.test(text.charAt(start))) start++;
  while (start < end && outer.test(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}
