/**
 * Holds the tools of a backend to what its operator approved, while they are used. Every definition is judged when it passes in a
 * list. A call names a tool only: it is judged by the definition that the backend listed last, to anybody here; if that is older than
 * a minute, or the backend said that its tools have changed, the backend is asked first, once for all who wait.
 */
import type { Audit } from "../../audit/audit.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { sha256 } from "../../oauth/sha256.ts";
import type { Caller } from "../../resource/caller.ts";
import { createBoundedMap } from "../../runtime/bounded-map.ts";
import type { Log } from "../../runtime/log.ts";
import { type Backend, BackendError } from "../backends/backend.ts";
import type { OnDrift } from "../backends/backend-settings.ts";
import { unprefixed } from "../backends/merged-names.ts";
import { type AskedServer, askedServers } from "../backends/offered-by-servers.ts";
import { type Drift, driftedTools, fingerprintOf, type PinnedTool, type Pins } from "../backends/pins.ts";

export interface PinnedToolsOptions {
  backend: Backend;
  /** The URI of the protected resource behind which it is. */
  resource: string;
  pins: Pins;
  onDrift: OnDrift;
  monotonicNow(): number;
  audit: Audit;
  log: Log;
}

export interface PinnedTools {
  /**
   * A tool as a list has it, on its way to a client: whether it may be shown.
   * @param text its definition, as it is written
   */
  mayBeShown(name: string, text: string): boolean;
  /**
   * Before a call: how the tool is another than the one that was approved; undefined if it may be called.
   * @throws BackendError if the backend does not say what it offers, or what it throws that is sent in a caller's name
   */
  refusalOf(name: string, caller: Caller): Promise<Drift | undefined>;
  /** The backend said that its tools have changed. */
  changed(): void;
  /** In nobody's name, so that the log says early what is different. */
  lookFirst(): Promise<void>;
}

export const DRIFT_REASONS = {
  changed: "backend_tool_changed",
  added: "backend_tool_added",
  gone: "backend_tool_gone",
} as const satisfies Record<Drift, ReasonCode>;

/** For how long a definition that was listed counts, in seconds … */
const SEEN_SECONDS = 60;
/** … and how long the backend may take to list them. */
const LOOK_MS = 10_000;
/** Of callers to whom the backend listed its tools, and of what was said. */
const MAX_REMEMBERED = 1_000;
const anySize = { entries: MAX_REMEMBERED, bytes: MAX_REMEMBERED };

/** Of several servers each is held to its own: one that is down says nothing of its tools, and nothing of the others'. */
export function pinnedTools({ backend, pins, ...options }: PinnedToolsOptions): PinnedTools {
  const each = new Map(
    askedServers(backend).map((asked) => {
      const its = [...pins].filter(([tool]) => asked.server === serverOf(tool, backend));
      return [asked.server, pinnedToolsOfOne({ ...options, asked, pins: new Map(its) })];
    }),
  );
  const toolsBeside = (tool: string) => each.get(serverOf(tool, backend));
  return {
    mayBeShown: (name, text) => toolsBeside(name)?.mayBeShown(name, text) ?? options.onDrift === "log",
    async refusalOf(name, caller) {
      const found = toolsBeside(name);
      if (found === undefined) return options.onDrift === "log" ? undefined : "added";
      return await found.refusalOf(name, caller);
    },
    changed() {
      for (const one of each.values()) one.changed();
    },
    async lookFirst() {
      await Promise.all([...each.values()].map((one) => one.lookFirst()));
    },
  };
}

/** Undefined where there is only one. */
function serverOf(tool: string, { servers }: Backend): string | undefined {
  return servers && unprefixed("name", tool)?.server;
}

function pinnedToolsOfOne({
  asked,
  resource,
  pins,
  onDrift,
  monotonicNow,
  audit,
  log,
}: Omit<PinnedToolsOptions, "backend"> & { asked: AskedServer }): PinnedTools {
  /** Of tools that are pinned, how each was listed last: the hash of its text, which may be a part of much more. */
  const seen = new Map<string, { hash: string; fingerprint: string | undefined; at: number }>();
  /** When it was listed to whom: what is not among it is not there for them. */
  const listedTo = createBoundedMap<number>(anySize, () => 1);
  const said = createBoundedMap<true>(anySize, () => 1);
  let looking: Promise<void> | undefined;
  /** How often its tools have changed: what was asked before is not what they are now. */
  let changes = 0;

  const isLate = (at: number) => monotonicNow() - at >= SEEN_SECONDS;

  function say(name: string, drift: Drift, fingerprint: string | undefined): void {
    const key = JSON.stringify([name.slice(0, 128), drift, fingerprint]);
    if (said.get(key)) return;
    said.set(key, true);
    const reason = DRIFT_REASONS[drift];
    const tool = name.slice(0, 128);
    log.warn(
      { reason, backend: asked.name, tool, pinned: pins.get(name)?.fingerprint, found: fingerprint },
      onDrift === "refuse"
        ? "A tool of a backend is not as it was approved, and is not served"
        : "A tool of a backend is not as it was approved",
    );
    const decision = onDrift === "refuse" ? "deny" : "allow";
    audit({ event: "tool_definition", decision, reason, tool, protectedResource: resource });
  }

  function note(name: string, text: string): Drift | undefined {
    const pinned = pins.get(name);
    const last = seen.get(name);
    const hash = sha256(text);
    const fingerprint = last?.hash === hash ? last.fingerprint : fingerprintOf(text);
    if (pinned !== undefined) seen.set(name, { hash, fingerprint, at: monotonicNow() });
    if (pinned !== undefined && fingerprint === pinned.fingerprint) return undefined;
    const drift = pinned === undefined ? "added" : "changed";
    say(name, drift, fingerprint);
    return drift;
  }

  /** @throws BackendError */
  async function look(caller?: Caller): Promise<void> {
    const before = changes;
    const signal = AbortSignal.timeout(LOOK_MS);
    const tools = await asked.tools({ ...(caller && { caller }), signal });
    if (before !== changes) return;
    for (const { value, text } of tools) {
      const name = (value as { name?: unknown } | null)?.name;
      if (typeof name === "string") note(name, text);
    }
    for (const { name, drift } of driftedTools(pins, tools))
      if (drift === "gone") say(name, drift, undefined);
    if (caller !== undefined) listedTo.set(caller.sessionKey, monotonicNow());
  }

  /** Who comes meanwhile waits for it, and asks in their own name if it fails: a backend may refuse one caller alone. */
  function lookTogether(caller: Caller): Promise<void> {
    if (looking !== undefined) return looking.catch(() => {});
    const begun = look(caller).finally(() => {
      looking = undefined;
    });
    looking = begun;
    return begun;
  }

  /** By what was listed lately; undefined if it was not. */
  function judged(name: string, { fingerprint }: PinnedTool, caller: Caller): Drift | "approved" | undefined {
    const last = seen.get(name);
    if (last !== undefined && !isLate(last.at))
      return last.fingerprint === fingerprint ? "approved" : "changed";
    const listedAt = listedTo.get(caller.sessionKey);
    return listedAt === undefined || isLate(listedAt) ? undefined : "gone";
  }

  return {
    mayBeShown: (name, text) => note(name, text) === undefined || onDrift === "log",
    async refusalOf(name, caller) {
      if (onDrift === "log") return undefined;
      const pinned = pins.get(name);
      if (pinned === undefined) return "added";
      let verdict = judged(name, pinned, caller);
      for (const ask of [lookTogether, look]) {
        if (verdict !== undefined) break;
        await ask(caller);
        verdict = judged(name, pinned, caller);
      }
      if (verdict === undefined)
        throw new BackendError("backend_answer_unusable", "Its tools change faster than they can be listed.");
      return verdict === "approved" ? undefined : verdict;
    },
    changed() {
      changes++;
      seen.clear();
      listedTo.clear();
    },
    async lookFirst() {
      try {
        await look();
      } catch {
        // It may be down, or list nothing to nobody: whoever calls first asks again.
      }
    },
  };
}
