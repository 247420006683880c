variable "bastion_host" {
  description = "Host name or address of the SSH host."
  type        = string
}

variable "bastion_port" {
  description = "Port of its sshd."
  type        = number
  default     = 22
}

variable "app_port" {
  description = "Port of the source."
  type        = number
  default     = 5432
}

variable "app_admin_password" {
  description = "Password of the administrator of the source."
  type        = string
  sensitive   = true
  ephemeral   = true # in neither plan nor state
}

variable "warehouse_host" {
  description = "Host name or address of the destination."
  type        = string
}

variable "warehouse_port" {
  description = "Port of the destination."
  type        = number
  default     = 5432
}

variable "warehouse_admin_password" {
  description = "Password of the administrator of the destination."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "app_stitch_password" {
  description = "Password of the user \"stitch\" at the source."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "warehouse_stitch_password" {
  description = "Password of the user \"stitch\" at the destination. Never give both servers one password."
  type        = string
  sensitive   = true
  ephemeral   = true
}
