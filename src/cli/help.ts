/** What there is to type. */
export const HELP = `mcp-oidc-proxy [start] --server URL     the server, in front of the MCP server at URL (BACKEND_URL)
mcp-oidc-proxy [start] --tools FILE     the server, with the tools that FILE exports (TOOLS_MODULE)
mcp-oidc-proxy [start] [--config FILE]  the server, as FILE describes it (CONFIG_FILE), or the environment
mcp-oidc-proxy doctor [token TOKEN|-]   what is wrong with a configuration, or with a token (options as above)
mcp-oidc-proxy admin …                  look at, and change, what a deployment holds
mcp-oidc-proxy demo [--tools FILE]      a trial on this computer, with an identity provider where anybody signs in
mcp-oidc-proxy dev --tools FILE         the same for writing tools: the server is replaced when a file changes
mcp-oidc-proxy walkthrough [--as …]     a client goes all the way against a running demo, every hop explained
mcp-oidc-proxy help

Settings come from the environment and from .env: .env.example in the package explains them.
`;
