/** Plans and what runs them. @module */
export * from "./check_limits.ts";
export * from "./device.ts";
export * from "./interpret_plan.ts";
export * from "./make_plan.ts";
export * from "./plan.ts";
export * from "./prepare.ts";
export * from "./show_plan.ts";
export * from "./store_plan.ts";
