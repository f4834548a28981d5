/** Networks of client addresses, for limits per client. */

import { isIPv4, isIPv6 } from "node:net";

const MAX_KNOWN = 4096;
const known = new Map<string, string>();

/**
 * The network under which to count what an address sends.
 *
 * @returns an IPv4 address itself, even if it is written as IPv6 (RFC 4291 section 2.5.5.2); of another IPv6 address its
 *   /64 network, because a customer has at least one of them (RFC 6177); any other text unchanged.
 */
export function networkOf(address: string): string {
  let network = known.get(address);
  if (network === undefined) {
    network = compute(address);
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(address, network);
  }
  return network;
}

function compute(address: string): string {
  const bare = address.split("%", 1)[0] ?? ""; // without the zone of a link-local address
  if (isIPv4(bare)) return bare;
  if (!isIPv6(bare)) return address;
  const groups = groupsOf(bare);
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isMapped) return groups.slice(6).flatMap((group) => [group >> 8, group & 0xff]).join(".");
  return `${groups.slice(0, 4).map((group) => group.toString(16)).join(":")}::`;
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = (high: string | undefined, low: string | undefined): string => (Number(high) * 256 + Number(low)).toString(16);
  const text = dotted ? `${address.slice(0, dotted.index)}${hex(dotted[1], dotted[2])}:${hex(dotted[3], dotted[4])}` : address;
  const [head = "", tail] = text.split("::");
  const read = (part: string): number[] => (part === "" ? [] : part.split(":").map((group) => parseInt(group, 16)));
  if (tail === undefined) return read(head);
  const [before, after] = [read(head), read(tail)];
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
}
