/*
 * The Vulkan functions, found at run time in libvulkan.so.1, so that the program starts on a
 * machine without Vulkan. One table for the process, filled once and never freed (drivers do not
 * like to be unloaded). The cooperative-matrix declarations that Debian 12's headers (1.3.239) lack
 * are here and nowhere else.
 */
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <glib.h>
#include <stdbool.h>

#define VK_INSTANCE_FUNCTIONS(F)                                                                   \
    F(DestroyInstance)                                                                             \
    F(EnumeratePhysicalDevices)                                                                    \
    F(GetPhysicalDeviceProperties2)                                                                \
    F(GetPhysicalDeviceFeatures2)                                                                  \
    F(GetPhysicalDeviceMemoryProperties2)                                                          \
    F(GetPhysicalDeviceQueueFamilyProperties)                                                      \
    F(EnumerateDeviceExtensionProperties)                                                          \
    F(CreateDevice)                                                                                \
    F(GetDeviceProcAddr)

#define VK_DEVICE_FUNCTIONS(F)                                                                     \
    F(DestroyDevice)                                                                               \
    F(GetDeviceQueue)                                                                              \
    F(DeviceWaitIdle)                                                                              \
    F(QueueSubmit)                                                                                 \
    F(AllocateMemory)                                                                              \
    F(FreeMemory)                                                                                  \
    F(MapMemory)                                                                                   \
    F(CreateBuffer)                                                                                \
    F(DestroyBuffer)                                                                               \
    F(GetBufferMemoryRequirements)                                                                 \
    F(BindBufferMemory)                                                                            \
    F(CreateBufferView)                                                                            \
    F(DestroyBufferView)                                                                           \
    F(CreateShaderModule)                                                                          \
    F(DestroyShaderModule)                                                                         \
    F(CreatePipelineCache)                                                                         \
    F(DestroyPipelineCache)                                                                        \
    F(GetPipelineCacheData)                                                                        \
    F(CreateComputePipelines)                                                                      \
    F(DestroyPipeline)                                                                             \
    F(CreatePipelineLayout)                                                                        \
    F(DestroyPipelineLayout)                                                                       \
    F(CreateDescriptorSetLayout)                                                                   \
    F(DestroyDescriptorSetLayout)                                                                  \
    F(CreateDescriptorPool)                                                                        \
    F(DestroyDescriptorPool)                                                                       \
    F(AllocateDescriptorSets)                                                                      \
    F(UpdateDescriptorSets)                                                                        \
    F(CreateCommandPool)                                                                           \
    F(DestroyCommandPool)                                                                          \
    F(AllocateCommandBuffers)                                                                      \
    F(FreeCommandBuffers)                                                                          \
    F(BeginCommandBuffer)                                                                          \
    F(EndCommandBuffer)                                                                            \
    F(CmdBindPipeline)                                                                             \
    F(CmdBindDescriptorSets)                                                                       \
    F(CmdPushConstants)                                                                            \
    F(CmdDispatch)                                                                                 \
    F(CmdPipelineBarrier)                                                                          \
    F(CmdCopyBuffer)                                                                               \
    F(CmdResetQueryPool)                                                                           \
    F(CmdWriteTimestamp)                                                                           \
    F(CreateQueryPool)                                                                             \
    F(DestroyQueryPool)                                                                            \
    F(GetQueryPoolResults)                                                                         \
    F(CreateFence)                                                                                 \
    F(DestroyFence)                                                                                \
    F(ResetFences)                                                                                 \
    F(WaitForFences)

struct vk_instance_api {
#define F(name) PFN_vk##name name;
    VK_INSTANCE_FUNCTIONS(F)
#undef F
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
};

struct vk_api {
#define F(name) PFN_vk##name name;
    VK_DEVICE_FUNCTIONS(F)
#undef F
};

/* Opens the loader. Fails with one sentence when there is none. Any thread. */
PFN_vkGetInstanceProcAddr vk_loader(GError **error);
void vk_load_instance(struct vk_instance_api *api, PFN_vkGetInstanceProcAddr get,
                      VkInstance instance);
void vk_load_device(struct vk_api *api, const struct vk_instance_api *from, VkDevice device);
/* "out of device memory (VK_ERROR_OUT_OF_DEVICE_MEMORY)" and so on. */
const char *vk_result_text(VkResult result);

#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_cooperative_matrix 1
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR                          \
    ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
typedef enum VkComponentTypeKHR {
    VK_COMPONENT_TYPE_FLOAT16_KHR = 0,
    VK_COMPONENT_TYPE_FLOAT32_KHR = 1,
    VK_COMPONENT_TYPE_MAX_ENUM_KHR = 0x7FFFFFFF
} VkComponentTypeKHR;
typedef enum VkScopeKHR {
    VK_SCOPE_WORKGROUP_KHR = 2,
    VK_SCOPE_SUBGROUP_KHR = 3,
    VK_SCOPE_MAX_ENUM_KHR = 0x7FFFFFFF
} VkScopeKHR;
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix;
    VkBool32 cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize;
    uint32_t NSize;
    uint32_t KSize;
    VkComponentTypeKHR AType;
    VkComponentTypeKHR BType;
    VkComponentTypeKHR CType;
    VkComponentTypeKHR ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice, uint32_t *, VkCooperativeMatrixPropertiesKHR *);
#endif

#ifndef VK_NV_cooperative_matrix2
#define VK_NV_cooperative_matrix2 1
#define VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME "VK_NV_cooperative_matrix2"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV                         \
    ((VkStructureType)1000593000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV                     \
    ((VkStructureType)1000593001)
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV                       \
    ((VkStructureType)1000593002)
typedef struct VkCooperativeMatrixFlexibleDimensionsPropertiesNV {
    VkStructureType sType;
    void *pNext;
    uint32_t MGranularity;
    uint32_t NGranularity;
    uint32_t KGranularity;
    VkComponentTypeKHR AType;
    VkComponentTypeKHR BType;
    VkComponentTypeKHR CType;
    VkComponentTypeKHR ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
    uint32_t workgroupInvocations;
} VkCooperativeMatrixFlexibleDimensionsPropertiesNV;
typedef struct VkPhysicalDeviceCooperativeMatrix2FeaturesNV {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrixWorkgroupScope;
    VkBool32 cooperativeMatrixFlexibleDimensions;
    VkBool32 cooperativeMatrixReductions;
    VkBool32 cooperativeMatrixConversions;
    VkBool32 cooperativeMatrixPerElementOperations;
    VkBool32 cooperativeMatrixTensorAddressing;
    VkBool32 cooperativeMatrixBlockLoads;
} VkPhysicalDeviceCooperativeMatrix2FeaturesNV;
typedef struct VkPhysicalDeviceCooperativeMatrix2PropertiesNV {
    VkStructureType sType;
    void *pNext;
    uint32_t cooperativeMatrixWorkgroupScopeMaxWorkgroupSize;
    uint32_t cooperativeMatrixFlexibleDimensionsMaxDimension;
    uint32_t cooperativeMatrixWorkgroupScopeReservedSharedMemory;
} VkPhysicalDeviceCooperativeMatrix2PropertiesNV;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)(
    VkPhysicalDevice, uint32_t *, VkCooperativeMatrixFlexibleDimensionsPropertiesNV *);
#endif
