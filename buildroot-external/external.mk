# Every line of the kernel fragments must have survived: an option whose dependency is missing vanishes silently.
define MATRIZ_CHECK_KERNEL_CONFIG
	$(BR2_EXTERNAL_MATRIZ_PATH)/check-config $(@D)/.config \
		$(call qstrip,$(BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES))
endef
LINUX_POST_CONFIGURE_HOOKS += MATRIZ_CHECK_KERNEL_CONFIG

include $(sort $(wildcard $(BR2_EXTERNAL_MATRIZ_PATH)/package/*/*.mk))
