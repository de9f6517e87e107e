/** Which hosts are reached without the forward proxy: `NO_PROXY`, in every form that other programs read there. Pure. */
import { BlockList, isIP } from "node:net";

/** Whether a URL's host is reached directly. */
export type GoesDirect = (url: URL) => boolean;

const USUAL_PORTS: Readonly<Record<string, string>> = { "https:": "443", "http:": "80" };

/**
 * @param list names with everything below them, with or without `.` or `*.` before them; addresses; networks as `10.0.0.0/8`;
 * each perhaps with a port; `*` for all hosts
 */
export function goesDirectBy(list: string): GoesDirect {
  const tests = list
    .split(/[,\s]+/)
    .filter((entry) => entry !== "")
    .map(goesDirectByEntry);
  return (url) => tests.some((test) => test(url));
}

function goesDirectByEntry(entry: string): GoesDirect {
  if (entry === "*") return () => true;
  // Of an address with colons and no brackets the last part is no port.
  const [, inBrackets, plain, port] = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(entry) ?? [];
  const host = inBrackets ?? plain ?? entry.replace(/^\[(.*)\]$/, "$1");
  const isHost = isNetwork(host) ?? isBelow(host.toLowerCase().replace(/^\*?\./, ""));
  return ({ hostname, port: written, protocol }) =>
    (port === undefined || port === (written || USUAL_PORTS[protocol])) &&
    isHost(hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, ""));
}

/** For an address or a network; undefined for a name. */
function isNetwork(host: string): ((host: string) => boolean) | undefined {
  const [address = "", prefix, ...more] = host.split("/");
  const version = isIP(address);
  if (version === 0 || more.length > 0) return undefined;
  const family = familyOf(version);
  const list = new BlockList();
  if (prefix === undefined) list.addAddress(address, family);
  else if (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128))
    list.addSubnet(address, Number(prefix), family);
  return (other) => isIP(other) !== 0 && list.check(other, familyOf(isIP(other)));
}

const familyOf = (version: number) => (version === 4 ? "ipv4" : "ipv6");

function isBelow(name: string): (host: string) => boolean {
  return (host) => host === name || host.endsWith(`.${name}`);
}
