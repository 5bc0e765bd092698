import { lazy } from "react";
import { createBrowserRouter } from "react-router";
import { Shell } from "./components/Shell";
import { ErrorPanel } from "./components/ErrorPanel";
import { ApiError } from "./api/client";
import { useTranslation } from "react-i18next";

// Each page is loaded when it is first opened.
const Home = lazy(() => import("./pages/home/HomePage"));
const SignIn = lazy(() => import("./pages/sign-in/SignInPage"));
const Serving = lazy(() => import("./pages/serving/ServingPage"));
const CreateEndpoint = lazy(() => import("./pages/endpoint-form/CreateEndpointPage"));
const EditEndpoint = lazy(() => import("./pages/endpoint-form/EditEndpointPage"));
const Endpoint = lazy(() => import("./pages/endpoint/EndpointPage"));
const Models = lazy(() => import("./pages/models/ModelsPage"));
const Model = lazy(() => import("./pages/models/ModelPage"));
const Settings = lazy(() => import("./pages/settings/SettingsPage"));

function NotFound() {
  const { t } = useTranslation();
  return <ErrorPanel error={new ApiError(404, "NOT_FOUND", t("error.noPage"))} />;
}

export const router = createBrowserRouter([
  { path: "/login", element: <SignIn /> },
  {
    element: <Shell />,
    children: [
      { path: "/", element: <Home /> },
      { path: "/ml/endpoints", element: <Serving /> },
      { path: "/ml/endpoints/create", element: <CreateEndpoint /> },
      { path: "/ml/endpoints/:name", element: <Endpoint /> },
      { path: "/ml/endpoints/:name/edit", element: <EditEndpoint /> },
      // The tab is part of the address: overview (absent), query, metrics, logs, events, inference-table, settings.
      { path: "/ml/endpoints/:name/:tab", element: <Endpoint /> },
      { path: "/ml/models", element: <Models /> },
      { path: "/ml/models/:name", element: <Model /> },
      // versions (absent) or serving.
      { path: "/ml/models/:name/:tab", element: <Model /> },
      { path: "/settings", element: <Settings /> },
      { path: "/settings/:tab", element: <Settings /> },
      { path: "*", element: <NotFound /> },
    ],
  },
]);
