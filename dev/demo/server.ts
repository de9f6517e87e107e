/** What the demo's server is called. */
export const DEMO_SERVER = {
  name: "Weather demo",
  description:
    "A trial on your own computer: an assistant that you connect can look up made-up weather in your name.",
};
