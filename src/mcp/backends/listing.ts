/** What an MCP server offers, all pages of it. */
import type { Client } from "@modelcontextprotocol/sdk/client/index.js";

export async function listEverything(client: Client) {
  const has = client.getServerCapabilities() ?? {};
  return {
    tools: has.tools ? await everyPage(client.listTools.bind(client), ({ tools }) => tools) : [],
    resources: has.resources
      ? await everyPage(client.listResources.bind(client), ({ resources }) => resources)
      : [],
    templates: has.resources
      ? await everyPage(client.listResourceTemplates.bind(client), (page) => page.resourceTemplates)
      : [],
    prompts: has.prompts ? await everyPage(client.listPrompts.bind(client), ({ prompts }) => prompts) : [],
  };
}

async function everyPage<Page extends { nextCursor?: string | undefined }, Item>(
  list: (at?: { cursor: string }) => Promise<Page>,
  itemsOf: (page: Page) => Item[],
): Promise<Item[]> {
  const items: Item[] = [];
  const seen = new Set<string>();
  let page = await list();
  items.push(...itemsOf(page));
  while (page.nextCursor !== undefined) {
    // Every page would lead to the next for ever.
    if (seen.has(page.nextCursor)) throw new Error("The server's list has no end: a cursor comes again.");
    seen.add(page.nextCursor);
    page = await list({ cursor: page.nextCursor });
    items.push(...itemsOf(page));
  }
  return items;
}
