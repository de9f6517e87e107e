/** `admin clients`: list, show, remove, prune. */
import { Command, InvalidArgumentError } from "commander";
import type { Client } from "../../oauth/client-metadata.ts";
import { counted } from "../../runtime/counted.ts";
import {
  type ClientView,
  detailsOfClient,
  lastUse,
  tableOfClients,
  viewOfClient,
  viewOfHolder,
} from "./client-view.ts";
import {
  type Context,
  type DestroyOptions,
  EXIT,
  type Exit,
  inParallel,
  mayDestroy,
  type OutputOptions,
  run,
} from "./command.ts";
import type { Deployment } from "./deployment.ts";
import type { Terminal } from "./terminal.ts";
import { jsonLine, parseSince } from "./words.ts";

type PruneOptions = DestroyOptions & { unusedSince: string };

export function clientsCommand(context: Context): Command {
  const clients = new Command("clients").description(
    "the programs that may ask: registered, configured, known by a document",
  );
  clients
    .command("list")
    .description("all of them, with how many grants each holds")
    .option("--json", "one JSON object a line")
    .action((options: OutputOptions) => run(context, (...around) => list(options, ...around)));
  clients
    .command("show")
    .description("one of them")
    .argument("<client>")
    .option("--json", "for programs")
    .action((id: string, options: OutputOptions) =>
      run(context, (...around) => show(id, options, ...around)),
    );
  clients
    .command("remove")
    .description("forgets registrations, and ends every grant that these clients hold")
    .argument("<client...>")
    .option("--yes", "do not ask")
    .option("--dry-run", "only show what would end")
    .option("--json", "one JSON object a line for each that was removed")
    .action((ids: string[], options: DestroyOptions) =>
      run(context, (...around) => remove(ids, options, ...around)),
    );
  clients
    .command("prune")
    .description("forgets registrations that nobody uses and that hold no grant")
    .requiredOption("--unused-since <when>", "such as 30d, 12h, or 2026-11-01", checkedSince)
    .option("--yes", "do not ask")
    .option("--dry-run", "only show what would be forgotten")
    .option("--json", "one JSON object a line for each that was forgotten")
    .action((options: PruneOptions) => run(context, (...around) => prune(options, ...around)));
  return clients;
}

function checkedSince(text: string): string {
  try {
    parseSince(text, 0);
    return text;
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : "");
  }
}

async function list({ json }: OutputOptions, deployment: Deployment, terminal: Terminal): Promise<Exit> {
  const held = new Map<string, number>();
  let read = 0;
  for await (const { client } of deployment.grants.all()) {
    held.set(client.id, (held.get(client.id) ?? 0) + 1);
    terminal.progress(`${counted(++read, "grant")} read`);
  }
  const found: ClientView[] = [];
  let count = 0;
  const tell = (view: ClientView) => {
    count++;
    held.delete(view.client_id);
    if (json) terminal.print(jsonLine(view));
    else found.push(view);
  };
  for (const client of deployment.config.clients) tell(viewOfClient(client, held.get(client.client_id) ?? 0));
  for await (const client of deployment.clients.all()) {
    if (terminal.isUnread()) return EXIT.done;
    tell(viewOfClient(client, held.get(client.client_id) ?? 0));
  }
  for (const [clientId, grants] of [...held]) tell(viewOfHolder(clientId, grants));
  if (count === 0) return nothing(terminal);
  if (!json) terminal.print(tableOfClients(found, deployment.now, terminal.columns));
  return EXIT.done;
}

async function show(
  id: string,
  { json }: OutputOptions,
  deployment: Deployment,
  terminal: Terminal,
): Promise<Exit> {
  const view = await viewOf(id, deployment);
  if (view === undefined) return nothing(terminal);
  terminal.print(json ? jsonLine(view) : detailsOfClient(view, deployment.now));
  return EXIT.done;
}

async function viewOf(id: string, deployment: Deployment): Promise<ClientView | undefined> {
  const configured = deployment.config.clients.find(({ client_id }) => client_id === id);
  const client = configured ?? (await deployment.clients.find(id));
  let held = 0;
  for await (const _ of deployment.grants.findAll(deployment.grantsOfClient(id))) held++;
  if (client !== undefined) return viewOfClient(client, held);
  return held > 0 ? viewOfHolder(id, held) : undefined;
}

async function remove(
  ids: readonly string[],
  options: DestroyOptions,
  deployment: Deployment,
  terminal: Terminal,
): Promise<Exit> {
  const known: ClientView[] = [];
  let refused = false;
  for (const id of new Set(ids)) {
    const view = await viewOf(id, deployment);
    if (view?.provenance === "registered") known.push(view);
    else {
      refused ||= view !== undefined;
      terminal.say(view === undefined ? `There is no client ${id}.` : notRegistered(view));
    }
  }
  if (known.length === 0) return refused ? EXIT.problem : EXIT.nothing;
  announce(known, options, deployment, terminal);
  const grants = known.reduce((sum, view) => sum + view.grants, 0);
  const what = `${counted(known.length, "registration")} and ${counted(grants, "grant")}`;
  if (!(await mayDestroy(what, options, terminal))) return options.dryRun ? EXIT.done : EXIT.problem;
  let ended = 0;
  for (const view of known) {
    const clientId = view.client_id;
    const client = await deployment.clients.find(clientId);
    if (client === undefined) continue; // somebody else removed it meanwhile
    // RFC 7592 §2.3, as when the client itself asks.
    await deployment.removeClient(client, async () => {
      await deployment.markEnded(["client", clientId], "client_removed");
      for (let before = -1; before < ended; ) {
        before = ended; // and once more, for what was opened meanwhile
        await inParallel(deployment.grantsOfClient(clientId), async (id) => {
          if ((await deployment.endGrant(id, "client_removed")) !== undefined) ended++;
          terminal.progress(`${counted(ended, "grant")} ended`);
        });
      }
    });
    deployment.audit({
      event: "client_removed",
      decision: "revoke",
      reason: "removed_by_operator",
      clientId,
    });
    if (options.json) terminal.print(jsonLine(view));
  }
  terminal.say(`Removed ${counted(known.length, "registration")}, and ended ${counted(ended, "grant")}.`);
  const { unrevoked } = deployment;
  if (unrevoked.count > 0)
    terminal.say(
      `The identity provider did not revoke ${counted(unrevoked.count, "refresh token")}: ${unrevoked.cause}`,
    );
  return known.length < new Set(ids).size || unrevoked.count > 0 ? EXIT.problem : EXIT.done;
}

function notRegistered({ client_id, provenance, grants }: ClientView): string {
  const how = {
    configured: "is configured: take it out of CLIENTS",
    document: "has a metadata document and no registration: CLIENT_DOMAINS_DENIED keeps it out",
    gone: "has no registration any more",
    registered: "",
  }[provenance];
  return `${client_id} ${how}. Its ${counted(grants, "grant")}: grants revoke --client.`;
}

/** What prune may forget: nobody used it since, and nobody could with it now. */
async function prune(options: PruneOptions, deployment: Deployment, terminal: Terminal): Promise<Exit> {
  const { clients, now } = deployment;
  const since = parseSince(options.unusedSince, now);
  const isUnused = (client: Client | undefined) =>
    client?.provenance === "registered" && lastUse(client) < since;
  const candidates: ClientView[] = [];
  let kept = 0;
  for await (const client of clients.all()) {
    if (!isUnused(client)) continue;
    if (await holdsGrant(client.client_id, deployment)) kept++;
    else candidates.push(viewOfClient(client, 0));
    terminal.progress(`${counted(candidates.length, "registration")} found`);
  }
  if (kept > 0)
    terminal.say(`Kept: ${counted(kept, "registration")} that nobody used since then and that hold grants.`);
  if (candidates.length === 0) return nothing(terminal);
  announce(candidates, options, deployment, terminal);
  const what = counted(candidates.length, "registration");
  if (!(await mayDestroy(what, options, terminal))) return options.dryRun ? EXIT.done : EXIT.problem;
  let pruned = 0;
  await inParallel(candidates, async (view) => {
    const clientId = view.client_id;
    const record = await clients.raw(clientId);
    // The client may have been used during the confirmation; then the stored record has changed.
    if (record === undefined || !isUnused(await clients.find(clientId))) return;
    if (
      (await holdsGrant(clientId, deployment)) ||
      !(await deployment.records.deleteIf(`client:${clientId}`, record))
    )
      return;
    pruned++;
    deployment.audit({ event: "client_removed", decision: "revoke", reason: "pruned_by_operator", clientId });
    if (options.json) terminal.print(jsonLine(view));
    terminal.progress(`${counted(pruned, "registration")} forgotten`);
  });
  terminal.say(`Forgot ${counted(pruned, "registration")}.`);
  return EXIT.done;
}

/** Also one that cannot be read here: another version may have written it, or another SECRET_KEY. */
async function holdsGrant(clientId: string, { grants, grantsOfClient }: Deployment): Promise<boolean> {
  for await (const id of grantsOfClient(clientId)) if ((await grants.raw(id)) !== undefined) return true;
  return false;
}

const MOST_SHOWN = 20;

function announce(
  views: readonly ClientView[],
  { json, dryRun, yes }: DestroyOptions,
  { now }: Deployment,
  { print, say, columns }: Terminal,
): void {
  if (json && dryRun) for (const view of views) print(jsonLine(view));
  if (json && (dryRun || yes)) return;
  say(tableOfClients(views.slice(0, MOST_SHOWN), now, columns));
  if (views.length > MOST_SHOWN) say(`… and ${views.length - MOST_SHOWN} more`);
}

function nothing({ say }: Terminal): Exit {
  say("There is no such client.");
  return EXIT.nothing;
}
