/** `admin grants`: list, show, revoke. */
import { Command } from "commander";
import { claimsOf, isSameUser, PRINCIPAL_KINDS, subjectOf, type UserId } from "../../access/principal.ts";
import type { Grant } from "../../grants/grant.ts";
import { counted } from "../../runtime/counted.ts";
import {
  type Context,
  type DestroyOptions,
  EXIT,
  type Exit,
  inParallel,
  mayDestroy,
  type OutputOptions,
  run,
  UsageError,
} from "./command.ts";
import type { Deployment } from "./deployment.ts";
import { detailsOfGrant, type GrantView, type Names, tableOfGrants, viewOfGrant } from "./grant-view.ts";
import { everyIssuer, issuerOfUser, issuersNamed } from "./issuers.ts";
import type { Terminal } from "./terminal.ts";
import { jsonLine } from "./words.ts";

interface WhoseOptions {
  user?: string;
  issuer?: string;
  client?: string;
  kind?: string;
  protectedResource?: string;
}

type ListOptions = WhoseOptions & OutputOptions;
type RevokeOptions = WhoseOptions & DestroyOptions & { all?: true };

const USER = [
  "--user <user>",
  "of this user: their sub at the identity provider, or their e-mail address",
] as const;
const ISSUER = [
  "--issuer <name>",
  "who names --user, or all that it names: an identity provider's name in CONFIG_FILE, or an issuer; default: the only identity provider",
] as const;
const CLIENT = ["--client <id>", "held by this client"] as const;
const KIND = ["--kind <kind>", `of these alone: ${PRINCIPAL_KINDS.join(", ")}`] as const;

const PROTECTED_RESOURCE = [
  "--protected-resource <path>",
  "for this one of several resources: its path in CONFIG_FILE, or its URI",
] as const;

export function grantsCommand(context: Context): Command {
  const grants = new Command("grants").description(
    "what users allowed clients, and what machines were given: all that is good now",
  );
  grants
    .command("list")
    .description("all of them, or those of a user, of a client, of a kind, for a resource")
    .option(...USER)
    .option(...ISSUER)
    .option(...CLIENT)
    .option(...KIND)
    .option(...PROTECTED_RESOURCE)
    .option("--json", "one JSON object a line")
    .action((options: ListOptions) => run(context, (...around) => list(options, ...around)));
  grants
    .command("show")
    .description("one of them, and what the provider said of its user")
    .argument("<grant>")
    .option("--json", "for programs")
    .action((id: string, options: OutputOptions) =>
      run(context, (...around) => show(id, options, ...around)),
    );
  grants
    .command("revoke")
    .description("ends them: at once, on every replica, and at the identity provider")
    .argument("[grant...]")
    .option(...USER)
    .option(...ISSUER)
    .option(...CLIENT)
    .option(...KIND)
    .option(...PROTECTED_RESOURCE)
    .option("--all", "everybody's")
    .option("--yes", "do not ask")
    .option("--dry-run", "only show what would end")
    .option("--json", "one JSON object a line for each that ended")
    .action((ids: string[], options: RevokeOptions) =>
      run(context, (...around) => revoke(ids, options, ...around)),
    );
  return grants;
}

async function list(options: ListOptions, deployment: Deployment, terminal: Terminal): Promise<Exit> {
  checkKind(options);
  const found: GrantView[] = [];
  let count = 0;
  for await (const view of views(selected(options, deployment, terminal), deployment)) {
    if (terminal.isUnread()) return EXIT.done;
    count++;
    if (options.json) terminal.print(jsonLine(view));
    else found.push(view);
    terminal.progress(`${counted(count, "grant")} read`);
  }
  if (count === 0) return nothing(terminal);
  if (!options.json) terminal.print(tableOfGrants(found, deployment.now, terminal.columns));
  return EXIT.done;
}

async function show(
  id: string,
  { json }: OutputOptions,
  deployment: Deployment,
  terminal: Terminal,
): Promise<Exit> {
  const grant = await deployment.grants.find(id);
  if (grant === undefined) return nothing(terminal);
  const view = { ...(await viewOfGrant(grant, namesIn(deployment))), claims: claimsOf(grant.principal) };
  terminal.print(json ? jsonLine(view) : detailsOfGrant(view, deployment.now));
  return EXIT.done;
}

const MOST_SHOWN = 20;

async function revoke(
  ids: readonly string[],
  options: RevokeOptions,
  deployment: Deployment,
  terminal: Terminal,
): Promise<Exit> {
  checkKind(options);
  const { user, issuer, client, kind, protectedResource } = options;
  const isWhose = [user, issuer, client, kind, protectedResource].some((each) => each !== undefined);
  const ways = [ids.length > 0, options.all, isWhose];
  if (ways.filter(Boolean).length !== 1)
    throw new UsageError(
      "Say what to end: grants, or --user, --issuer, --client, --kind and --protected-resource, or --all.",
    );
  // Of several identity providers only one person's access is to end.
  if (user !== undefined) issuerOfUser(issuer, deployment.config);
  if (options.all) return revokeAll(options, deployment, terminal);

  const matched = new Set<string>();
  const shown: GrantView[] = [];
  const wanted = () =>
    ids.length > 0 ? deployment.grants.findAll(new Set(ids)) : selected(options, deployment, terminal);
  const users = new Users();
  for (const each of usersNamed(options, deployment)) users.add(each);
  const names = namesIn(deployment);
  for await (const grant of wanted()) {
    matched.add(grant.id);
    if ((user ?? issuer) !== undefined && grant.principal.kind !== "client") users.add(grant.principal);
    const view = await viewOfGrant(grant, names);
    if (options.json && options.dryRun) terminal.print(jsonLine(view));
    else if (shown.length < MOST_SHOWN) shown.push(view);
  }
  for (const id of ids) if (!matched.has(id)) terminal.say(`There is no grant ${id}.`);
  if (matched.size === 0) {
    if ((user ?? client) !== undefined && !options.dryRun)
      await endWhatIsUnderWay(users, options, deployment, terminal);
    return nothing(terminal);
  }
  if (!options.json || !options.yes) {
    terminal.say(tableOfGrants(shown, deployment.now, terminal.columns));
    if (matched.size > shown.length) terminal.say(`… and ${matched.size - shown.length} more`);
  }
  if (!(await mayDestroy(counted(matched.size, "grant"), options, terminal)))
    return options.dryRun ? EXIT.done : EXIT.problem;
  await markEnded(users, options.client, deployment);
  // Read again: a sign-in may have finished during the confirmation, before the mark was written.
  if (ids.length === 0) for await (const { id } of wanted()) matched.add(id);
  const exit = await end(matched, matched.size, options, deployment, terminal);
  return ids.some((id) => !matched.has(id)) ? EXIT.problem : exit;
}

/** Ends grants without reading them all first: there may be more than fit into memory. */
async function revokeAll(options: RevokeOptions, deployment: Deployment, terminal: Terminal): Promise<Exit> {
  const { grants } = deployment;
  let count = 0;
  for await (const _ of grants.ids()) {
    count++;
    terminal.progress(`${counted(count, "grant")} found`);
  }
  if (count === 0) {
    if (!options.dryRun) await deployment.markEnded(["everybody"], "ended_by_operator");
    return nothing(terminal);
  }
  if (options.json && options.dryRun)
    for await (const view of views(grants.all(), deployment)) terminal.print(jsonLine(view));
  const everybody = `all ${counted(count, "grant")} of ${deployment.config.baseUrl}: everybody has to sign in again`;
  if (!(await mayDestroy(everybody, options, terminal))) return options.dryRun ? EXIT.done : EXIT.problem;
  await deployment.markEnded(["everybody"], "ended_by_operator");
  return end(grants.ids(), count, options, deployment, terminal);
}

/** Without grants there is nothing to confirm. */
async function endWhatIsUnderWay(
  users: Users,
  { user, client }: WhoseOptions,
  deployment: Deployment,
  terminal: Terminal,
): Promise<void> {
  await markEnded(users, client, deployment);
  if (user?.includes("@"))
    terminal.say("A sign-in that is under way is not known by an e-mail address: to end it, name their sub.");
  else terminal.say("A sign-in of theirs that is under way opens nothing any more.");
}

/** Sign-ins under way of these users, or of this client, create no grant. */
async function markEnded(users: Users, client: string | undefined, { markEnded }: Deployment): Promise<void> {
  const reason = "ended_by_operator";
  if (client !== undefined && users.size === 0) await markEnded(["client", client], reason);
  for (const user of users.values())
    await markEnded(client === undefined ? ["user", user] : ["client of user", client, user], reason);
}

/** Each once. */
class Users {
  readonly #known = new Map<string, UserId>();

  add({ issuer, subject }: UserId): void {
    this.#known.set(JSON.stringify([issuer, subject]), { issuer, subject });
  }

  get size(): number {
    return this.#known.size;
  }

  values(): Iterable<UserId> {
    return this.#known.values();
  }
}

/** By their `sub`: where nobody says whose it is, at each. */
function usersNamed({ user, issuer }: WhoseOptions, { config }: Deployment): UserId[] {
  if (user === undefined) return [];
  const issuers = issuer === undefined ? everyIssuer(config) : issuersNamed(issuer, config);
  return issuers.map((each) => ({ issuer: each, subject: user }));
}

function checkKind({ kind }: WhoseOptions): void {
  if (kind !== undefined && !PRINCIPAL_KINDS.some((each) => each === kind))
    throw new UsageError(`--kind is one of ${PRINCIPAL_KINDS.join(", ")}.`);
}

async function end(
  ids: AsyncIterable<string> | Iterable<string>,
  count: number,
  { json }: OutputOptions,
  deployment: Deployment,
  terminal: Terminal,
): Promise<Exit> {
  const { grants, unrevoked } = deployment;
  const names = namesIn(deployment);
  let ended = 0;
  try {
    await inParallel(ids, async (id) => {
      const grant = await deployment.endGrant(id, "ended_by_operator");
      // What is left could not be read; the reader counts it.
      if (grant === undefined) return void (await grants.find(id));
      ended++;
      if (json) terminal.print(jsonLine(await viewOfGrant(grant, names)));
      terminal.progress(`${ended.toLocaleString("en")} of ${counted(count, "grant")} ended`);
    });
  } catch (error) {
    terminal.say(
      `Ended ${counted(ended, "grant")} of ${count.toLocaleString("en")} before this; say it again for the rest:`,
    );
    throw error;
  }
  terminal.say(`Ended ${counted(ended, "grant")}.`);
  if (unrevoked.count === 0) return EXIT.done;
  terminal.say(
    `The identity provider still holds the refresh ${unrevoked.count === 1 ? "token" : "tokens"} of ${counted(unrevoked.count, "grant")}: ${unrevoked.cause}`,
  );
  return EXIT.problem;
}

/** The grants that the options speak of; without any, all. */
async function* selected(
  options: WhoseOptions,
  deployment: Deployment,
  { say }: Terminal,
): AsyncIterable<Grant> {
  const { user, issuer, client, kind, protectedResource } = options;
  const { grants, config } = deployment;
  const uri = protectedResource?.startsWith("/")
    ? `${config.baseUrl}${protectedResource}`
    : protectedResource;
  const issuers = issuer === undefined ? undefined : issuersNamed(issuer, config);
  const isMeant = ({ principal, client: { id }, resource }: Grant) =>
    (client === undefined || id === client) &&
    (uri === undefined || resource === uri) &&
    (kind === undefined || principal.kind === kind) &&
    (issuers === undefined || (principal.issuer !== undefined && issuers.includes(principal.issuer)));
  if (user === undefined) {
    const all = client === undefined ? grants.all() : grants.findAll(deployment.grantsOfClient(client));
    for await (const grant of all) if (isMeant(grant)) yield grant;
    return;
  }
  for (const each of usersNamed(options, deployment))
    for await (const grant of grants.findAll(deployment.grantsOfUser(each)))
      if (isMeant(grant) && "subject" in grant.principal && isSameUser(grant.principal, each)) yield grant;
  if (!user.includes("@")) return;
  say("Looking through all grants for that e-mail address: only subs are indexed.");
  const address = user.toLowerCase();
  for await (const grant of grants.all()) {
    const { email } = claimsOf(grant.principal);
    const isOther = subjectOf(grant.principal) !== user;
    const isTheirs = typeof email === "string" && email.toLowerCase() === address && isOther;
    if (isTheirs && isMeant(grant)) yield grant;
  }
}

async function* views(grants: AsyncIterable<Grant>, deployment: Deployment): AsyncIterable<GrantView> {
  const names = namesIn(deployment);
  for await (const grant of grants) yield await viewOfGrant(grant, names);
}

/** Asked once for each client. A client with a metadata document is known by its URL. */
function namesIn({ clients, config }: Deployment): Names {
  const ofResource = new Map(config.resources.map(({ path, name }) => [`${config.baseUrl}${path}`, name]));
  const names = new Map<string, Promise<string | undefined>>(
    config.clients.map(({ client_id, client_name }) => [client_id, Promise.resolve(client_name)]),
  );
  const nameOf = async (clientId: string) =>
    clientId.startsWith("https://") ? undefined : (await clients.find(clientId))?.client_name;
  return {
    ofClient(clientId) {
      const name = names.get(clientId) ?? nameOf(clientId);
      names.set(clientId, name);
      return name;
    },
    ofResource: (uri) => ofResource.get(uri),
  };
}

function nothing({ say }: Terminal): Exit {
  say("There is no such grant.");
  return EXIT.nothing;
}
