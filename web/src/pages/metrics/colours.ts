// Of served entities, in both schemes: a contrast of 3:1 and more to the page, told apart by those who see few colours too.
const LIGHT = ["#3b5bdb", "#b35900", "#087f5b", "#9c36b5", "#c2255c", "#0b7285", "#6741d9"];
const DARK = ["#8ba2ff", "#ffa94d", "#38d9a9", "#da77f2", "#faa2c1", "#3bc9db", "#b197fc"];

/** `null` is what belongs to no served entity. */
export function colourOf(index: number | null, dark: boolean): string {
  if (index === null) return dark ? "#ced4da" : "#5c6470";
  const colours = dark ? DARK : LIGHT;
  return colours[index % colours.length]!;
}
