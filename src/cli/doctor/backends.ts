/** The servers behind this one: does each answer over HTTP, as /readyz or a call would ask it, and are its tools the approved ones? */
import { askBackend } from "../../mcp/backends/backend-health.ts";
import { type BackendSettings, type HttpReach, serversOf } from "../../mcp/backends/backend-settings.ts";
import { offeredBy } from "../../mcp/backends/offered.ts";
import { driftedTools, readPins } from "../../mcp/backends/pins.ts";
import { causes } from "../../oauth/errors.ts";
import { counted } from "../../runtime/counted.ts";
import { InvalidValue } from "../../runtime/setting-problem.ts";
import { harmless } from "../../runtime/terminal-text.ts";
import { askingBackend } from "../asked-backend.ts";
import { type Deployment, ofEach } from "./deployment.ts";
import { checkOf, type Finding, type Found } from "./finding.ts";

export async function checkBackends(deployment: Deployment): Promise<Found> {
  const { config } = deployment;
  if (config === undefined) return undefined; // what is wrong is said under Settings
  const resources = config.resources.flatMap(({ path, source }) =>
    source.kind === "server" ? [{ path, ...source.settings }] : [],
  );
  const servers = resources.flatMap(({ path, reach }) => [...serversOf(path, reach)]);
  return Promise.all([
    ofEach(deployment, servers, "backends.answers", async ([name, one]) =>
      one.kind === "http" ? checkBackend(name, one) : undefined,
    ),
    ofEach(deployment, resources, "backends.pins", async (resource) => checkPins(resource)),
  ]);
}

async function checkBackend(name: string, { url, health, headers }: HttpReach): Promise<Finding> {
  const found = checkOf("backends.answers");
  const asked = health ?? url;
  const status = await askBackend(asked, headers).catch((error: unknown) => causes(error));
  if (typeof status === "string") {
    const [mark, effect] = health === undefined ? ["!", ""] : ["✗", ", so /readyz says no"];
    return found`${mark} The backend of ${name} does not answer at ${asked}${effect}: ${status}
      → Start the server behind ${name}, or correct its URL in CONFIG_FILE; this computer has to reach it.`;
  }
  // Without a caller an MCP server refuses a GET as it likes: only that nothing is there says something.
  if (status === 404 || (status >= 400 && health !== undefined && health !== url))
    return found`! The backend of ${name} answers ${status} at ${asked}
      → Correct that URL in CONFIG_FILE: there seems to be nothing at its path.`;
  return found`✓ The backend of ${name} answers at ${asked}`;
}

const SHOWN = 5;

/** Is what it lists now, asked in nobody's name, still what was approved? */
async function checkPins({
  path,
  reach,
  pins: settings,
}: BackendSettings & { path: string }): Promise<Found> {
  if (settings === undefined) return undefined;
  const found = checkOf("backends.pins");
  try {
    const pins = readPins(settings.file);
    const { tools } = await askingBackend(reach, (backend, signal) =>
      offeredBy(backend, ["tools"], { signal }),
    );
    const drifted = driftedTools(pins, tools);
    if (drifted.length === 0)
      return found`✓ The tools of ${path} are as they were approved (${counted(pins.size, "tool")})`;
    const names = drifted.map(({ name, drift }) => `${harmless(name.slice(0, 64))} (${drift})`);
    const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : "";
    const becomes = settings.onDrift === "refuse" ? "are not served" : "are served all the same";
    return found`! Not as they were approved, of the tools of ${path} (they ${becomes}): ${names.slice(0, SHOWN).join(", ")}${more}
      → See what is different with admin backend drift --resource ${path}; approve it with admin backend pin, or find out who changed it.`;
  } catch (error) {
    if (error instanceof InvalidValue)
      return found`✗ The server would not start: pins of ${path} ${error.problem}
        → Write what it offers now with admin backend pin --resource ${path}, or remove pins.`;
    return found`? Whether the tools of ${path} are as they were approved is not known: ${causes(error)}
      → Start the server behind it. If it lists its tools to known callers alone, the log says what is different when somebody calls.`;
  }
}
