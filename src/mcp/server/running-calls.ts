/**
 * Every call that this process is serving, until its response is closed: how many there may be, and whether each may still
 * go on. That is asked again when its grant changes, and every few seconds in one sweep over all of them, which also
 * keeps silent streams open.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import type { ServerResponse } from "node:http";
import type { Audit } from "../../audit/audit.ts";
import { requestFacts } from "../../http/request-facts.ts";
import type { AuthenticatedRequest, Verification } from "../../resource/caller.ts";
import { type CurrentRequest, currentRequest, withRequest } from "../../runtime/current-request.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { KeyValueStore } from "../../storage/store.ts";
import type { UsedFeature } from "../authoring/features.ts";
import { type Ending, EXPIRED, endingOf, tookTooLong } from "./ending.ts";
import { auditOf } from "./invoke.ts";
import type { RunningCallLimits } from "./running-call-limits.ts";

export interface RunningCalls {
  /**
   * Places for a call, or the calls of a batch, for as long as `res` is open; or whose places are all taken. A call whose
   * body took its time is looked at again before it begins: see {@link RunningCall.doubt}.
   * @param requests how many run at once; none: it takes no place, and ends as the others do
   */
  begin(
    authenticated: AuthenticatedRequest,
    features: readonly UsedFeature[],
    res: ServerResponse,
    requests: number,
  ): RunningCall | "grant" | "process";
}

/** Whoever serves a call. */
export interface Serving {
  /** Stops it with an error to its client. False if it was over. */
  end(ending: Ending): boolean;
  /** The same, if nothing was sent yet: that error is the whole answer then. False if it is too late. */
  refuse(ending: Ending): boolean;
  /** Sends a comment if that is possible now. Proxies cut a connection that is silent for longer. */
  keepAlive(): void;
}

export interface RunningCall {
  /** Stopped through this from here on. */
  servedBy(serving: Serving): void;
  /** Its end may be on its way: nothing may be sent, and nothing be begun, before this resolves. */
  readonly doubt: Promise<void> | undefined;
  /** Why it does not go on. */
  readonly ending: Ending | undefined;
  /**
   * Answers with this refusal instead of a result, if nothing was sent yet. False if it is too late for that, or other requests
   * are answered with this one: their results would be lost.
   */
  refuse(ending: Ending): Promise<boolean>;
}

interface Options extends RunningCallLimits, Pick<Runtime, "now"> {
  records: Pick<KeyValueStore, "watch">;
  audit: Audit;
}

const KIND = "grant";
const SWEEP_MS = 1_000;
// In sweeps. Published changes take effect immediately; a changed policy and lost messages are found in this time.
const LOOK_EVERY = 2;
const KEEP_ALIVE_EVERY = 15;
const LONG_MS = 100;

export function createRunningCalls(options: Options): RunningCalls {
  const { perGrant, perProcess, seconds, now, records, audit } = options;
  /** By their session keys. */
  const calls = new Map<string, Set<Running>>();
  let size = 0;
  let sweeps = 0;
  let timer: NodeJS.Timeout | undefined;
  // A timer would keep the request that it was made in.
  const outside = AsyncLocalStorage.snapshot();

  // Subscribed after the grant cache, which therefore drops its copy first.
  records.watch(KIND, (key) => {
    for (const call of calls.get(key.slice(KIND.length + 1)) ?? []) void call.look({ holding: true });
  });

  function sweep(): void {
    sweeps++;
    if (size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
    for (const ofSession of calls.values()) for (const call of ofSession) attend(call);
  }

  function attend(call: Running): void {
    const age = sweeps - call.begunAt;
    if (call.authenticated.caller.expiresAt <= now()) call.end(EXPIRED);
    else if (seconds > 0 && age > seconds) call.end(tookTooLong(seconds));
    else if (age % LOOK_EVERY === 0) void call.look();
    if (age % KEEP_ALIVE_EVERY === 0) call.keepAlive();
  }

  return {
    begin(authenticated, features, res, requests) {
      const { sessionKey } = authenticated.caller;
      const ofSession = calls.get(sessionKey) ?? new Set();
      // A batch that is larger than all places of its session is served when nothing else is.
      const places = Math.min(requests, perGrant, perProcess);
      const taken = [...ofSession].reduce((sum, call) => sum + call.places, 0);
      if (taken + places > perGrant) return "grant";
      if (size + places > perProcess) return "process";
      timer ??= outside(() => setInterval(sweep, SWEEP_MS).unref());
      const call = new Running(authenticated, features, res, { requests, places, begunAt: sweeps, audit });
      calls.set(sessionKey, ofSession.add(call));
      size += places;
      res.once("close", () => {
        size -= places;
        ofSession.delete(call);
        if (ofSession.size === 0 && calls.get(sessionKey) === ofSession) calls.delete(sessionKey);
      });
      if (call.wasLongInComing) void call.look({ holding: true });
      return call;
    },
  };
}

class Running implements RunningCall {
  readonly authenticated: AuthenticatedRequest;
  readonly features: readonly UsedFeature[];
  readonly places: number;
  /** In sweeps. */
  readonly begunAt: number;
  doubt: Promise<void> | undefined;
  ending: Ending | undefined;
  readonly #requests: number;
  readonly #res: ServerResponse;
  readonly #audit: Audit;
  readonly #request: CurrentRequest | undefined;
  #serving: Serving | undefined;
  #looks = 0;
  #isLooking = false;
  #settleDoubt: () => void = () => {};

  constructor(
    authenticated: AuthenticatedRequest,
    features: readonly UsedFeature[],
    res: ServerResponse,
    { requests, places, begunAt, audit }: { requests: number; places: number; begunAt: number; audit: Audit },
  ) {
    this.authenticated = authenticated;
    this.#requests = requests;
    this.#res = res;
    const { permissions } = authenticated.caller;
    // What the policy denied from the beginning is answered in the result.
    this.features = features.filter((feature) => permissions.checkFeature(feature).allowed);
    this.places = places;
    this.begunAt = begunAt;
    this.#audit = audit;
    this.#request = currentRequest();
  }

  servedBy(serving: Serving): void {
    this.#serving = serving;
  }

  /** Its token was verified before its body came, which may have been sent byte by byte. */
  get wasLongInComing(): boolean {
    return this.#request !== undefined && performance.now() - this.#request.startedAt > LONG_MS;
  }

  /** Asks whether it may go on. `holding`: nothing is sent meanwhile. */
  async look({ holding = false } = {}): Promise<void> {
    // Should answers take longer than the time between two looks, they would count for nothing.
    if (this.#isLooking && !holding) return;
    this.#isLooking = true;
    const look = ++this.#looks;
    if (holding)
      this.doubt ??= new Promise((resolve) => {
        this.#settleDoubt = resolve;
      });
    const found = await this.#asItself(() => this.authenticated.verify().catch(undecided));
    // What a later look finds is newer.
    if (look !== this.#looks) return;
    this.#isLooking = false;
    if (found !== undefined) this.#judge(found);
    this.doubt = undefined;
    this.#settleDoubt();
  }

  #judge(verification: Verification): void {
    const { required } = this.authenticated;
    const ending = endingOf(verification, { features: this.features, required });
    if (ending !== undefined) this.end(ending);
    else if ("caller" in verification) this.authenticated.accept(verification.caller);
  }

  end(ending: Ending): void {
    if (this.ending !== undefined) return;
    this.ending = ending;
    this.#asItself(() => {
      if (this.#serving?.end(ending) !== true) return;
      const { reason, rule } = ending;
      requestFacts(this.#res).reason = reason;
      for (const feature of this.features)
        this.#audit({
          ...auditOf(feature, this.authenticated.caller),
          decision: "revoke",
          outcome: "error",
          reason,
          rule,
        });
    });
  }

  async refuse(ending: Ending): Promise<boolean> {
    if (this.#requests > 1) return false;
    await this.doubt;
    return this.#serving?.refuse(ending) ?? false;
  }

  keepAlive(): void {
    this.#serving?.keepAlive();
  }

  /** Whatever is logged is about this request, not about the one that ended it. */
  #asItself<T>(work: () => T): T {
    return this.#request === undefined ? work() : withRequest(this.#request, work);
  }
}

/** An outage says nothing about the token; new calls are answered 503 meanwhile. */
function undecided(): undefined {
  return undefined;
}
