/** What every answer of the soak was, by kind of request; the first examples of what nobody expected. */

export type Outcome =
  | "served"
  /** The refusal that the protocol asks for: a bad token, a missing scope, nonsense. */
  | "refused"
  /** 503 with Retry-After. */
  | "told to wait"
  /** The client itself hung up. */
  | "hung up"
  /** Lost with a process that was killed (a broken connection, the balancer's own 502), or to a third party. */
  | "interrupted"
  | "unexpected";

export interface Example {
  atSeconds: number;
  during: string;
  kind: string;
  what: string;
}

export interface Phase {
  name: string;
  atSeconds: number;
  lastedSeconds: number;
  outcomes: Record<Outcome, number>;
}

export interface Counts {
  signIns: number;
  denied: number;
  /** Begun again by the user, because what it needed was lost to a fault. */
  signInsBegunAgain: number;
  refreshes: number;
  refreshesTwiceAtOnce: number;
  refreshesAfterALostAnswer: number;
  revocations: number;
  registrations: number;
}

export type Ledger = ReturnType<typeof createLedger>;

/** Of one kind of request in one phase. */
const MAX_EXAMPLES_ALIKE = 3;

export function createLedger(startedAt = performance.now()) {
  const kinds = new Map<string, Record<Outcome, number>>();
  const phases: Phase[] = [];
  const unexpected: Example[] = [];
  const lost: Example[] = [];
  const counts: Counts = {
    signIns: 0,
    denied: 0,
    signInsBegunAgain: 0,
    refreshes: 0,
    refreshesTwiceAtOnce: 0,
    refreshesAfterALostAnswer: 0,
    revocations: 0,
    registrations: 0,
  };
  const seconds = () => (performance.now() - startedAt) / 1000;
  const example = (kind: string, what: string): Example => ({
    atSeconds: seconds(),
    during: phases.at(-1)?.name ?? "",
    kind,
    what: what.replaceAll(/mcp_[a-z]{2}_[\w.-]+/g, "<token>").slice(0, 300),
  });

  const ledger = {
    kinds,
    phases,
    counts,
    unexpected,
    lost,
    seconds,
    /** Everything from here on happens during this, or in its aftermath. */
    begin(name: string): Phase {
      const phase = { name, atSeconds: seconds(), lastedSeconds: 0, outcomes: none() };
      phases.push(phase);
      return phase;
    },
    record(kind: string, outcome: Outcome, what = ""): void {
      const ofKind = kinds.get(kind) ?? none();
      kinds.set(kind, ofKind);
      ofKind[outcome]++;
      const phase = phases.at(-1);
      if (phase !== undefined) phase.outcomes[outcome]++;
      const before = unexpected.filter((each) => each.kind === kind && each.during === phase?.name).length;
      if (outcome === "unexpected" && before < MAX_EXAMPLES_ALIKE) unexpected.push(example(kind, what));
    },
    lose(what: string): void {
      lost.push(example("session", what));
    },
    total(outcome?: Outcome): number {
      const all = [...kinds.values()];
      return all.reduce(
        (sum, each) => sum + (outcome ? each[outcome] : Object.values(each).reduce((a, b) => a + b)),
        0,
      );
    },
  };
  ledger.begin("start");
  return ledger;
}

function none(): Record<Outcome, number> {
  return { served: 0, refused: 0, "told to wait": 0, "hung up": 0, interrupted: 0, unexpected: 0 };
}
