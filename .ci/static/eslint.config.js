/**
 * What Biome and the compiler do not see: patterns that are known to become holes, expressions that an attacker's text
 * makes slow, and the house's own rules on who may do what (docs/architecture.md).
 */
import { readdirSync } from "node:fs";
import babelParser from "@babel/eslint-parser";
import presetTypescript from "@babel/preset-typescript";
import * as regexp from "eslint-plugin-regexp";
import security from "eslint-plugin-security";

/** Programs: they end themselves. */
const PROGRAMS = ["src/cli/start.ts", "src/cli/run-server.ts", "src/cli/bin.ts", "src/cli/admin.ts"];
/**
 * Time, randomness and the environment are arguments. They come from the first two; keyv has a clock of its own, a line of
 * the audit log the time at which it is written, as every line of the log, and reconnecting a spread that nobody must guess.
 * Tools read settings of their own, by tool-settings.ts.
 */
const SURROUNDINGS = [
  "src/runtime/runtime.ts",
  "src/config/environment.ts",
  "src/mcp/authoring/tool-settings.ts",
  "src/storage/memory.ts",
  "src/audit/audit.ts",
  "src/storage/redis/supervisor.ts",
];
/** The demo's and the doctor's side: programs for one person, on their own computer, about their own input. */
const FOR_ONE_PERSON = ["dev/**", "src/cli/doctor/**", "src/cli/doctor.ts"];

const call = (object, property) => `MemberExpression[object.name="${object}"][property.name="${property}"]`;
const AMBIENT = [
  { selector: call("Date", "now"), message: "Take now() as an argument: src/runtime/runtime.ts." },
  {
    selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
    message: "Take now() as an argument.",
  },
  { selector: call("Math", "random"), message: "Take randomBytes() as an argument: src/runtime/runtime.ts." },
  { selector: call("process", "env"), message: "Only src/config/environment.ts reads the environment." },
];
/** What is done in one file only. */
const ONCE = [
  {
    selector: ':matches(MemberExpression[property.name="locals"], ObjectPattern > *[key.name="locals"])',
    message: "What is kept of a request has a name: src/http/request-facts.ts.",
  },
  {
    selector: 'ImportSpecifier[imported.name="timingSafeEqual"]',
    message: "Secrets are compared by src/oauth/constant-time.ts.",
  },
  {
    selector: "ImportSpecifier[imported.name=/^(jwt|compact)Verify$/]",
    message: "Signatures of JWTs are verified by src/oauth/jwt.ts.",
  },
];
const HOMES_OF_ONCE = ["src/http/request-facts.ts", "src/oauth/constant-time.ts", "src/oauth/jwt.ts"];
const EXIT = { selector: call("process", "exit"), message: "Only programs end themselves." };
/** Each library has one home. */
const HOMES = {
  "openid-client": ["src/identity/**"],
  keyv: ["src/storage/**"],
  "@keyv/redis": ["src/storage/**", "src/cli/**"],
  "@modelcontextprotocol/server": ["src/mcp/**", "src/resource/**"],
  "@modelcontextprotocol/node": ["src/mcp/**"],
  helmet: ["src/pages/**"],
  cors: ["src/http/**"],
  "prom-client": ["src/telemetry/**"],
};

/** What the files of a room may not import. */
const rooms = readdirSync("src", { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => `src/${name}/**`);
const homes = ["src/*.ts", ...rooms].map((room) => {
  const foreign = Object.keys(HOMES).filter((library) => !HOMES[library].includes(room));
  return {
    files: [room],
    rules: {
      "no-restricted-imports": ["error", { paths: foreign, patterns: foreign.map((each) => `${each}/*`) }],
    },
  };
});

export default [
  {
    files: ["src/**/*.ts", "dev/**/*.ts"],
    languageOptions: {
      parser: babelParser,
      parserOptions: {
        requireConfigFile: false,
        babelOptions: { presets: [presetTypescript], configFile: false },
      },
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    plugins: { security, regexp },
    rules: {
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-script-url": "error",
      "no-extend-native": "error",
      "no-proto": "error",
      "security/detect-bidi-characters": "error",
      "security/detect-buffer-noassert": "error",
      "security/detect-child-process": "error",
      "security/detect-new-buffer": "error",
      "security/detect-non-literal-require": "error",
      "security/detect-pseudoRandomBytes": "error",
      // Its other rules (object injection, file names, "unsafe" expressions) name a hundred places without a fault; the
      // next two say what an expression really costs.
      "regexp/no-super-linear-backtracking": ["error", { report: "potential" }],
      "regexp/no-super-linear-move": "error",
      "regexp/no-misleading-unicode-character": "error",
      "no-restricted-syntax": ["error", ...AMBIENT, ...ONCE, EXIT],
    },
  },
  {
    files: SURROUNDINGS,
    rules: { "no-restricted-syntax": ["error", ...ONCE, EXIT] },
  },
  {
    files: HOMES_OF_ONCE,
    rules: { "no-restricted-syntax": ["error", ...AMBIENT, EXIT] },
  },
  {
    files: PROGRAMS,
    rules: { "no-restricted-syntax": ["error", ...AMBIENT, ...ONCE] },
  },
  {
    files: FOR_ONE_PERSON,
    rules: {
      "no-restricted-syntax": "off",
      "security/detect-child-process": "off",
      "regexp/no-super-linear-backtracking": "off",
      "regexp/no-super-linear-move": "off",
    },
  },
  ...homes,
];
