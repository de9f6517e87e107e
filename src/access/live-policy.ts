/** The policy that is in force now: read at the start, and again whenever its file changes. */
import { readFileSync, statSync } from "node:fs";
import type { ScopeHierarchy } from "../oauth/scope-catalogue.ts";
import { sha256 } from "../oauth/sha256.ts";
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

// Longer than any policy that a person can answer for.
const MAX_BYTES = 256 * 1024;

/**
 * The content itself is compared: a timestamp or an event can be missed, and a ConfigMap of Kubernetes changes by a
 * link far from the file.
 * @throws PolicyError if the file cannot be read or is wrong now
 */
export function watchPolicy(options: WatchOptions): LivePolicy {
  const { path, intervalMs = 1_000, onChange, onRefused } = options;
  let current = read(readText(path), options);
  let seen = current.sha256;
  const refused = new Set<string>();

  function look(): void {
    const found = attempt(() => readText(path));
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
  return parsePolicy(readText(path), path, known);
}

function attempt<T>(action: () => T): { value: T } | { problem: string } {
  try {
    return { value: action() };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

function readText(path: string): string {
  try {
    const file = statSync(path);
    // Reading a pipe would block.
    if (!file.isFile()) throw refused(path, "is no file", "name the policy file itself");
    if (file.size > MAX_BYTES)
      throw refused(path, "is larger than 256 KB", "make sure that this is the right file");
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof PolicyError) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw refused(path, ...(REASONS[code] ?? NOT_READ(code)), error);
  }
}

function refused(path: string, problem: string, remedy: string, cause?: unknown): PolicyError {
  return new PolicyError([{ setting: "POLICY_FILE", problem: `names ${path}, which ${problem}`, remedy }], {
    cause,
  });
}

const NOT_READ = (code: string): [problem: string, remedy: string] => [
  `cannot be read (${code})`,
  "see that it is a file on a disk that works",
];

const REASONS: Record<string, [problem: string, remedy: string]> = {
  ENOENT: ["does not exist", "create it, or correct the path"],
  EACCES: ["may not be read by this process", "change its permissions"],
  // A name in another encoding would never match, so its rule would deny nothing.
  ERR_ENCODING_INVALID_ENCODED_DATA: ["is not UTF-8", "save it as UTF-8"],
};

function delegating(current: () => Policy): Policy {
  return {
    admits: (requester) => current().admits(requester),
    scope: (requester, scope) => current().scope(requester, scope),
    feature: (requester, feature) => current().feature(requester, feature),
    ruleset: (requester) => current().ruleset(requester),
    explain: (requester, feature) => current().explain(requester, feature),
    claimsAsked: () => current().claimsAsked(),
    unansweredBy: (claims) => current().unansweredBy(claims),
  };
}
