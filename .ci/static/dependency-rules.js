/**
 * Which room of src/ may import which, type imports included. A room may import what stands here beside it, and itself;
 * nothing imports upward, and there is no circle of files. `npm run static` checks it, and `npm run rooms` draws the picture.
 */
const VOCABULARY = ["oauth", "runtime"];
const FOUNDATION = [...VOCABULARY, "storage", "http", "audit", "access"];
const LIFECYCLE = [...FOUNDATION, "identity", "grants"];

/** From the bottom to the top. */
export const ROOMS = {
  oauth: [],
  runtime: ["oauth"],
  storage: VOCABULARY,
  audit: VOCABULARY,
  yaml: VOCABULARY,
  access: [...VOCABULARY, "yaml"],
  http: [...VOCABULARY, "storage"],
  identity: [...VOCABULARY, "access"],
  issuers: [...VOCABULARY, "storage", "access", "identity"],
  grants: [...VOCABULARY, "storage", "audit", "access", "identity"],
  resource: [...VOCABULARY, "http", "audit", "access", "issuers", "grants"],
  mcp: [...VOCABULARY, "storage", "http", "audit", "access", "resource"],
  tools: ["mcp", "resource"],
  pages: [...VOCABULARY, "http", "mcp"],
  clients: [...VOCABULARY, "storage", "http", "audit", "pages"],
  login: [...LIFECYCLE],
  logout: [...LIFECYCLE, "login", "pages"],
  authorization: [...LIFECYCLE, "clients", "resource", "login", "logout", "pages"],
  "token-endpoint": [...LIFECYCLE, "issuers", "clients", "resource", "logout", "pages"],
  account: [...LIFECYCLE, "clients", "login", "logout", "authorization", "pages"],
  telemetry: [...VOCABULARY, "storage", "http", "audit", "identity", "mcp"],
};
const ABOVE = ["config", "server", "cli"];

const inside = (rooms) => `^src/(${rooms.join("|")})/`;

export default {
  forbidden: [
    ...Object.entries(ROOMS).map(([room, allowed]) => ({
      name: `${room}-imports-downward`,
      severity: "error",
      from: { path: inside([room]) },
      to: { path: "^(src|dev)/", pathNot: inside([room, ...allowed]) },
    })),
    {
      name: "config-fills-types-of-rooms",
      severity: "error",
      from: { path: inside(["config"]) },
      to: { path: [inside(["server", "cli"]), "^dev/"] },
    },
    {
      name: "server-knows-no-program",
      severity: "error",
      from: { path: inside(["server"]) },
      to: { path: [inside(["cli"]), "^dev/"] },
    },
    {
      name: "only-the-command-starts-the-demo",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/cli/bin\\.ts$" },
      to: { path: "^dev/" },
    },
    { name: "dev-is-no-program", severity: "error", from: { path: "^dev/" }, to: { path: inside(["cli"]) } },
    {
      name: "every-room-is-named",
      severity: "error",
      from: { path: "^src/", pathNot: ["^src/index\\.ts$", inside([...Object.keys(ROOMS), ...ABOVE])] },
      to: {},
    },
    { name: "no-circle", severity: "error", from: {}, to: { circular: true } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
    includeOnly: "^(src|dev)/",
  },
};
