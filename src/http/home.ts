/** GET /: what this server is, for a person who opens its URL in a browser. */
import type { RequestHandler } from "express";
import { html } from "hono/html";
import type { Tool } from "../mcp/define-tool.ts";
import { describeRequirement } from "../oauth/scope-requirement.ts";
import type { Pages } from "./pages.ts";

export function homePage(pages: Pages, resource: string, tools: readonly Tool[]): RequestHandler {
  const body = html`
<p>This is an MCP server. Add this address to your MCP client; it will open a browser for you to sign in.</p>
<pre><code>${resource}</code></pre>
<h2>Tools</h2>
<ul>${tools.map(
    ({ listing, scopes }) =>
      html`<li><strong>${listing.name}</strong>: ${listing.description ?? ""}${
        scopes.length > 0 ? html` <span class="soft">(needs ${describeRequirement(scopes)})</span>` : ""
      }</li>`,
  )}</ul>
<h2>Claude Code</h2>
<pre><code>claude mcp add --transport http ${nameFor(resource)} ${resource}</code></pre>`;
  return (_req, res) => pages.send(res, 200, pages.brand.name, body);
}

/** A name that clients accept: letters, digits, hyphens. */
function nameFor(resource: string): string {
  return new URL(resource).hostname.replace(/[^A-Za-z0-9]+/g, "-");
}
