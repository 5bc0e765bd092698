import { createFormContext } from "@mantine/form";
import type { FormValues } from "./values";

export const [EndpointFormProvider, useEndpointFormContext, useEndpointForm] = createFormContext<FormValues>();
export type EndpointFormReturn = ReturnType<typeof useEndpointForm>;
