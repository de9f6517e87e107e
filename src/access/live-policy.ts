/** The policy that is in force now: read at the start, and again whenever its file changes. */
import type { ScopeHierarchy } from "../oauth/scope-catalogue.ts";
import { sha256 } from "../oauth/sha256.ts";
import { readText } from "../runtime/read-text.ts";
import { InvalidValue } from "../runtime/setting-problem.ts";
import { createPolicy, type Policy, type PolicyDocument } from "./policy.ts";
import { type KnownNames, PolicyError, parsePolicy } from "./policy-file.ts";

export interface WatchOptions {
  path: string;
  known: KnownNames;
  hierarchy: ScopeHierarchy;
  /** How often the file is looked at; one second. New content takes effect when it was read twice. */
  intervalMs?: number;
  /** Called when other rules are in force, or when the file is valid again after a refusal. */
  onChange(change: { rules: number; sha256: string }): void;
  /** Called once for each invalid content; the last valid policy stays in force. */
  onRefused(problem: string): void;
}

export interface LivePolicy {
  /** Always decides by what is in force. */
  policy: Policy;
  close(): void;
}

interface Reading {
  policy: Policy;
  rules: number;
  sha256: string;
}

/**
 * The content itself is compared: a timestamp or an event can be missed, and a ConfigMap of Kubernetes changes by a
 * link far from the file.
 * @throws PolicyError if the file cannot be read or is wrong now
 */
export function watchPolicy(options: WatchOptions): LivePolicy {
  const { path, intervalMs = 1_000, onChange, onRefused } = options;
  let current = read(policyText(path), options);
  let seen = current.sha256;
  const refused = new Set<string>();

  function look(): void {
    const found = attempt(() => policyText(path));
    const key = "problem" in found ? found.problem : sha256(found.value);
    // Read twice before it takes effect: half of a file that is being written is often a policy that denies less.
    const isSettled = key === seen;
    seen = key;
    if (!isSettled || refused.has(key) || (key === current.sha256 && refused.size === 0)) return;
    const next = "problem" in found ? found : attempt(() => read(found.value, options));
    if ("problem" in next) {
      refused.add(key);
      onRefused(next.problem);
      return;
    }
    refused.clear();
    current = next.value;
    onChange({ rules: current.rules, sha256: current.sha256 });
  }

  const timer = setInterval(look, intervalMs).unref();
  return { policy: delegating(() => current.policy), close: () => clearInterval(timer) };
}

function read(text: string, { path, known, hierarchy }: WatchOptions): Reading {
  const document = parsePolicy(text, path, known);
  return { policy: createPolicy(document, hierarchy), rules: document.rules.length, sha256: sha256(text) };
}

/** @throws PolicyError if the file cannot be read or is wrong */
export function readPolicy(path: string, known: KnownNames): PolicyDocument {
  return parsePolicy(policyText(path), path, known);
}

function attempt<T>(action: () => T): { value: T } | { problem: string } {
  try {
    return { value: action() };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

function policyText(path: string): string {
  try {
    return readText(path);
  } catch (cause) {
    if (!(cause instanceof InvalidValue)) throw cause;
    const { problem, remedy } = cause;
    throw new PolicyError([{ setting: "POLICY_FILE", problem, remedy }], { cause });
  }
}

/** A policy that decides as another does, whichever that is at the time. */
export function delegating(current: () => Policy): Policy {
  return {
    at: (protectedResource) => delegating(() => current().at(protectedResource)),
    admits: (requester) => current().admits(requester),
    scope: (requester, scope) => current().scope(requester, scope),
    feature: (requester, feature) => current().feature(requester, feature),
    ruleset: (requester) => current().ruleset(requester),
    explain: (requester, feature) => current().explain(requester, feature),
    claimsAsked: () => current().claimsAsked(),
    unansweredBy: (claims) => current().unansweredBy(claims),
  };
}
