import { Modal } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { SignInLink as Link } from "../../../api/schema";
import { absoluteTime } from "../../../components/Time";
import { ShownOnce } from "../parts/ShownOnce";

interface Props {
  /** Nothing while the window is closed. */
  link: Link | null;
  userName: string;
  close: () => void;
}

/** The link that signs a user in for the first time, where no OpenID Connect provider does. */
export function SignInLink({ link, userName, close }: Props) {
  const { t, i18n } = useTranslation(["settings", "common"]);
  return (
    <Modal opened={link !== null} onClose={close} title={t("signInLink.title")} size="lg" closeButtonProps={{ "aria-label": t("common:close") }}>
      {link && (
        <ShownOnce
          values={[{ label: t("signInLink.label"), value: link.url }]}
          warning={t("signInLink.once", { name: userName, time: absoluteTime(link.expiry_time, i18n.language) })}
          done={close}
        />
      )}
    </Modal>
  );
}
