/** When users are asked: at every sign-in, unless they ticked "do not ask again", or never. */
export type ConsentMode = "always" | "remember" | "never";
